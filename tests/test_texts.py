"""Texts of the user's on a terminal and in JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sftlens.cli._tables import print_line, print_table
from sftlens.manifest import read_manifest, write_manifest
from sftlens.texts import json_text, printable

NO_UTF8 = os.fsdecode(b"\xff")


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", ":smile:", "[link=a]b", "\\[x]"])
def test_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_line(f"a {text} b")
    print_table(f"title {text}", ["first", text], [[text, 1]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"a {text} b"
    assert lines[1] == f"title {text}"
    assert text in lines[2]
    assert text in lines[3]


def test_a_terminal_obeys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a\x1b[31m b\x9b c\x07 \u00a0d")
    assert capsys.readouterr().out == "a\ufffd[31m b\ufffd c\ufffd \u00a0d\n"
    print_table("t", ["c"], [["x\x1b[2J"]])
    assert "\x1b" not in capsys.readouterr().out


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    assert printable(NO_UTF8) == "\\udcff"
    text = json_text({"out": f"ü{NO_UTF8}"})
    assert json.loads(text.encode())["out"] == f"ü{NO_UTF8}"
    write_manifest(tmp_path, stage="x", config={"at": NO_UTF8}, result={})
    assert read_manifest(tmp_path, "x")["config"] == {"at": NO_UTF8}
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"loss": float("nan")})
