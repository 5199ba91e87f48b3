"""What every page shares."""

from __future__ import annotations

from pathlib import Path

import sftlens
from sftlens.pages import page_environment, script_json

TEMPLATES = sorted(Path(sftlens.__file__).parent.rglob("*.j2"))
HOSTILE = "</title><script>alert(1)</script>"


def test_every_page_has_the_shared_head() -> None:
    pages = [path for path in TEMPLATES if "<body" in path.read_text(encoding="utf-8")]
    assert {path.parent.name for path in pages} == {"compare", "page", "repair"}
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert '{% from "page_head.html.j2" import head %}' in text, path
        assert "{{ head(" in text, path
        assert "<head>" not in text, path


def test_nothing_else_makes_an_environment() -> None:
    """One that does not escape would let a name of the user's become markup."""
    found = [
        path.name
        for path in Path(sftlens.__file__).parent.rglob("*.py")
        if "jinja2" in path.read_text(encoding="utf-8")
    ]
    assert found == ["pages.py"]


def test_the_head(tmp_path: Path) -> None:
    (tmp_path / "own.j2").write_text(
        '{% from "page_head.html.j2" import head %}\n{{ head(title, "p {}", scripts) }}\n'
    )
    template = page_environment(tmp_path).get_template("own.j2")
    plain = template.render(title=HOSTILE, scripts=False)
    assert plain.startswith("<!DOCTYPE html>")
    assert HOSTILE not in plain
    assert "<title>&lt;/title&gt;&lt;script&gt;" in plain
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in plain
    assert "script-src" not in plain
    assert "script-src 'unsafe-inline';" in template.render(title="t", scripts=True)


def test_json_cannot_end_its_script() -> None:
    assert "</" not in script_json({"name": HOSTILE})
