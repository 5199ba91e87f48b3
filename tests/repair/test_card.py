"""The metadata of a card, as the hub's own library reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from tiny_repair import SETTINGS

from sftlens.repair._card import Told, model_card
from sftlens.repair._metadata import hub_data_set, stated_licence

HUB_BASE = "org/base@0123abc"
HUB_TUNED = "you/tuned@4567def"


def told(**changes: Any) -> Told:
    row = {"num_facts": 9, **dict.fromkeys(("knowledge", "gain", "task"))}
    row |= {"knowledge_in": None, "knowledge_out": None}
    given = {
        "base": HUB_BASE,
        "tuned": HUB_TUNED,
        "hashes": ("a" * 64, "b" * 64),
        "licence": {},
        "facts": "facts.csv",
        "mastery": None,
        "task": None,
        "settings": SETTINGS,
        "groups": [],
        "chosen": "relative 20 %",
        "is_tuned": False,
        "why": "It is better.",
        "front": [{"role": role, **row} for role in ("chosen", "tuned", "base")],
        "notes": [],
    }
    return Told(**{**given, **changes})


@pytest.fixture
def folder_with(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a model folder with this card."""

    def made(card: str) -> Path:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
        return tmp_path

    return made


def test_the_data_set_and_both_models_are_named() -> None:
    card = ModelCard(model_card(told(facts="hf:org/facts:test")))
    card.data.to_yaml()
    assert card.data.datasets == ["org/facts"]
    assert card.data.base_model == ["you/tuned", "org/base"]
    for name in (*card.data.datasets, *card.data.base_model):
        validate_repo_id(name)
    assert "- facts: hf:org/facts:test" in card.text


def test_what_is_no_name_of_the_hub_stands_in_the_body_only() -> None:
    card = ModelCard(model_card(told(base="runs/base", tuned="runs/tuned", facts="facts.csv")))
    assert card.data.datasets is None
    assert card.data.base_model is None
    assert card.data.license is None
    assert "- base: runs/base" in card.text
    assert "- facts: facts.csv" in card.text


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
    data = ModelCard(model_card(told(licence=licence))).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == expected


def test_no_licence_is_invented(folder_with: Callable[[str], Path], tmp_path: Path) -> None:
    assert stated_licence(tmp_path, HUB_BASE) == {}
    assert stated_licence(folder_with("# License: MIT\n"), HUB_BASE) == {}
    linked = folder_with("---\nlicense: other\nlicense_link: LICENSE\n---\n")
    assert stated_licence(linked, str(linked)) == {"license": "other"}
