"""What a card's head says of data sets and licences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from sftlens.card import hub_data_set, metadata, stated_licence

HUB_BASE = "org/base@0123abc"


@pytest.fixture
def folder_with(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a model folder with this card."""

    def made(card: str) -> Path:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
        return tmp_path

    return made


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf:org/facts", "org/facts"),
        ("hf:facts:train[:50]", "facts"),
        ("facts.csv", None),
        ("popqa:facts.tsv", None),
        ("hf:/data/facts", None),
        ("hf:./facts", None),
        ("hf:a/b/c", None),
        ("hf:here", None),
        ("hf:org/here:test", None),
        ("hf:odd:name:test", None),
    ],
)
def test_data_sets_of_the_hub(
    source: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is none, also where it is called like one."""
    for folder in ("here", "org/here", "odd:name"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_data_set(source) == name


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("license: apache-2.0", {"license": "apache-2.0"}),
        ("license:\n- mit\n- cc0-1.0", {"license": ["mit", "cc0-1.0"]}),
        (
            "license: other\nlicense_name: own\nlicense_link: LICENSE.md",
            {
                "license": "other",
                "license_name": "own",
                "license_link": "https://huggingface.co/org/base/blob/0123abc/LICENSE.md",
            },
        ),
        (
            "license: other\nlicense_link: https://example.org/terms",
            {"license": "other", "license_link": "https://example.org/terms"},
        ),
        ("license_name: own", {}),
        ("license: {a: b}", {}),
        ("license:", {}),
        ("license: [", {}),
        ("- license", {}),
        ("tags: [x]", {}),
    ],
)
def test_the_licence_is_the_bases(
    folder_with: Callable[[str], Path], stated: str, expected: dict[str, Any]
) -> None:
    licence = stated_licence(folder_with(f"---\n{stated}\n---\n\nMIT, one may think.\n"), HUB_BASE)
    assert licence == expected
    data = ModelCard(metadata([HUB_BASE], licence)).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == expected


def test_no_licence_is_invented(folder_with: Callable[[str], Path], tmp_path: Path) -> None:
    assert stated_licence(tmp_path, HUB_BASE) == {}
    assert stated_licence(folder_with("# License: MIT\n"), HUB_BASE) == {}
    linked = folder_with("---\nlicense: other\nlicense_link: LICENSE\n---\n")
    assert stated_licence(linked, str(linked)) == {"license": "other"}
