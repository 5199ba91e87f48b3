"""The two works in each format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sftlens import __version__
from sftlens.outputs import new_file
from sftlens.yaml_files import read_yaml

_WORKS = Path(__file__).with_name("works.yaml")
_ARXIV = "https://arxiv.org/abs/"


class Citation(NamedTuple):
    """Both works in one format.

    Attributes:
        name: of the format.
        suffix: of its files, with the dot.
        text: what stands in one.
    """

    name: str
    suffix: str
    text: str


def citations() -> list[Citation]:
    """The paper and this software, as BibTeX, RIS and EndNote read them."""
    works = read_yaml(_WORKS, "works")
    paper, software = works["paper"], works["software"]
    return [
        Citation("BibTeX", ".bib", _bibtex(paper, software)),
        Citation("RIS", ".ris", _ris(paper, software)),
        Citation("EndNote", ".enw", _endnote(paper, software)),
    ]


def write_citations(folder: Path) -> list[Path]:
    """Write ``sftlens.bib``, ``.ris`` and ``.enw`` with both works.

    Raises:
        UserError: when the disk is full or a folder stands in the way.
    """
    paths = []
    for one in citations():
        with new_file(folder / f"sftlens{one.suffix}") as path:
            path.write_text(one.text, encoding="utf-8", newline="")
        paths.append(folder / f"sftlens{one.suffix}")
    return paths


def _bibtex(paper: dict[str, Any], software: dict[str, Any]) -> str:
    first, last = paper["pages"]
    return "\n".join(
        [
            f"@inproceedings{{{paper['key']},",
            f"  title         = {{{{{paper['title']}}}}},",
            f"  author        = {{{' and '.join(_names(paper))}}},",
            f"  booktitle     = {{{{{paper['proceedings']}}}}},",
            f"  year          = {{{paper['year']}}},",
            f"  pages         = {{{first}--{last}}},",
            f"  eprint        = {{{paper['arxiv']}}},",
            "  archiveprefix = {arXiv},",
            f"  url           = {{{_ARXIV}{paper['arxiv']}}},",
            "}",
            "",
            f"@software{{{software['key']},",
            f"  title    = {{{{{software['title']}}}}},",
            f"  author   = {{{{{software['authors']}}}}},",
            f"  version  = {{{__version__}}},",
            f"  abstract = {{{software['abstract']}}},",
            "}",
            "",
        ]
    )


def _ris(paper: dict[str, Any], software: dict[str, Any]) -> str:
    first, last = paper["pages"]
    tags = [
        ("TY", "CPAPER"),
        *(("AU", name) for name in _names(paper)),
        ("TI", paper["title"]),
        ("T2", paper["proceedings"]),
        ("PY", paper["year"]),
        ("SP", first),
        ("EP", last),
        ("UR", f"{_ARXIV}{paper['arxiv']}"),
        ("ER", ""),
        ("TY", "COMP"),
        ("AU", software["authors"]),
        ("TI", software["title"]),
        ("ET", __version__),
        ("AB", software["abstract"]),
        ("ER", ""),
    ]
    return "".join(f"{tag}  - {value}\r\n" for tag, value in tags)


def _endnote(paper: dict[str, Any], software: dict[str, Any]) -> str:
    first, last = paper["pages"]
    # EndNote takes a name with a comma at its end for that of an organisation.
    works: list[Iterable[tuple[str, object]]] = [
        [
            ("%0", "Conference Proceedings"),
            *(("%A", name) for name in _names(paper)),
            ("%T", paper["title"]),
            ("%B", paper["proceedings"]),
            ("%D", paper["year"]),
            ("%P", f"{first}-{last}"),
            ("%U", f"{_ARXIV}{paper['arxiv']}"),
        ],
        [
            ("%0", "Computer Program"),
            ("%A", f"{software['authors']},"),
            ("%T", software["title"]),
            ("%7", __version__),
            ("%X", software["abstract"]),
        ],
    ]
    return "\n".join("".join(f"{tag} {value}\n" for tag, value in work) for work in works)


def _names(paper: dict[str, Any]) -> list[str]:
    return [f"{family}, {given}" for family, given in paper["authors"]]
