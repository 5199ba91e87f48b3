"""How to cite: the formats, the files, and that they agree with CITATION.cff."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sftlens import __version__
from sftlens.report.cite import citations, write_citations

CFF = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8"))
TEXTS = {one.name: one.text for one in citations()}


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    (reference,) = CFF["references"]
    assert isinstance(reference, dict)
    return reference


def test_the_citation_file_agrees(paper: dict[str, Any]) -> None:
    assert CFF["version"] == __version__
    names = [f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]]
    assert re.search(r"author += {(.*)},", TEXTS["BibTeX"])[1] == " and ".join(names)  # type: ignore[index]
    assert re.findall(r"^AU  - (.*)\r$", TEXTS["RIS"], re.MULTILINE)[:-1] == names
    assert re.findall(r"^%A (.*)$", TEXTS["EndNote"], re.MULTILINE)[:-1] == names
    for text in TEXTS.values():
        assert paper["title"] in text
        assert paper["collection-title"] in text
        assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in text
        assert CFF["authors"][0]["name"] in text
        assert CFF["abstract"] in text
        assert __version__ in text


def test_bibtex_is_sound(paper: dict[str, Any]) -> None:
    text = TEXTS["BibTeX"]
    assert text.count("{") == text.count("}")
    assert re.findall(r"^@(\w+){([^,]+),$", text, re.MULTILINE) == [
        ("inproceedings", "ye-etal-2025-analyzing"),
        ("software", "sftlens"),
    ]
    assert f"pages         = {{{paper['start']}--{paper['end']}}}," in text
    assert f"year          = {{{paper['year']}}}," in text


def test_ris_is_sound(paper: dict[str, Any]) -> None:
    lines = TEXTS["RIS"].split("\r\n")
    assert lines.pop() == ""
    tags = [re.fullmatch(r"([A-Z][A-Z0-9])  - (.*)", line) for line in lines]
    assert all(tags)
    found = [(tag[1], tag[2]) for tag in tags if tag]
    assert [value for tag, value in found if tag == "TY"] == ["CPAPER", "COMP"]
    assert [place for place, (tag, _) in enumerate(found) if tag == "ER"][-1] == len(found) - 1
    assert ("SP", str(paper["start"])) in found
    assert ("EP", str(paper["end"])) in found


def test_endnote_is_sound(paper: dict[str, Any]) -> None:
    works = TEXTS["EndNote"].split("\n\n")
    assert [work.splitlines()[0] for work in works] == [
        "%0 Conference Proceedings",
        "%0 Computer Program",
    ]
    assert f"%P {paper['start']}-{paper['end']}" in works[0]
    assert all(re.match(r"%[0-9A-Z] ", line) for work in works for line in work.splitlines())


def test_the_files(tmp_path: Path) -> None:
    paths = write_citations(tmp_path / "cite")
    assert [path.name for path in paths] == ["sftlens.bib", "sftlens.ris", "sftlens.enw"]
    for path, one in zip(paths, citations(), strict=True):
        assert path.read_bytes().decode() == one.text
