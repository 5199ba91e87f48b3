"""YAML of the user's: plain values, or one line that names the place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sftlens
from sftlens.errors import UserError
from sftlens.yaml_files import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("base: {{ BASE }}\n", "line 1: a key is a mapping or a list"),
        ("x: 1\n? [a, b]\n: 1\n", "line 2: a key is a mapping or a list"),
        ("a: !!int ''\n", "line 1: '' is no value of type int"),
        ("a: !!int abc\n", "line 1: 'abc' is no value of type int"),
        ("a: !!int [1]\n", "line 1"),
        ("a: !!float x\n", "line 1: 'x' is no value of type float"),
        ("a: !!bool maybe\n", "line 1: 'maybe' is no value of type bool"),
        ("x: 1\na: !!timestamp x\n", "line 2: 'x' is no value of type timestamp"),
        ("a: 2001-99-99\n", "is no value of type timestamp"),
        ("a: !!binary '\u00fc'\n", "line 1"),
        ("a: !!set [x]\n", "line 1"),
        ("a: !!omap {x: 1}\n", "line 1"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("a: !own x\n", "could not determine a constructor"),
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice"),
        ("a:\n\t- b\n", "line 2"),
        ("a: 1\n---\nb: 2\n", "line 2"),
        ("a: 'x\n", "is not valid YAML"),
        ("a: *b\n", "undefined alias"),
        ("a: &a [*a]\n", "an alias is within the value that it names"),
        ("&a {<<: *a}\n", "an alias is within the value that it names"),
        ("<<: 3\n", "line 1"),
        (BOMB, "aliases repeat more than 1,000,000 values"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: " + "[" * 100 + "]" * 100, "has more than 64 levels of nesting"),
        ("a: " + "9" * 6000, "line 1"),
        (f"? {'k' * 3000}\n: 1\n", "a key has more than 256 letters"),
        ("a: \x07\n", "is not valid YAML"),
    ],
)
def test_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        read_yaml(path, "settings")
    assert str(refusal.value).startswith(str(path))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < len(str(path)) + 300


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe9\n")
    with pytest.raises(UserError, match="byte 3 is not UTF-8"):
        read_yaml(tmp_path / "latin", "settings")
    with pytest.raises(UserError, match="does not exist; give a YAML file of settings"):
        read_yaml(tmp_path / "absent", "settings")
    with pytest.raises(UserError, match="is a folder"):
        read_yaml(tmp_path, "settings")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(Path("a\0b"), "settings")


def test_keys_are_the_text_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("no: 1\n1: 2\n2001-01-01: 3\n~: 4\n0x10: {on: [5]}\n", encoding="utf-8")
    found = read_yaml(path, "settings")
    assert found == {"no": 1, "1": 2, "2001-01-01": 3, "~": 4, "0x10": {"on": [5]}}


def test_merged_keys_and_aliases(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n", encoding="utf-8")
    plain = {"x": 1, "y": 2}
    assert read_yaml(path, "settings") == {"a": plain, "b": {"x": 1, "y": 3}, "c": [plain, plain]}


def test_tags_of_other_programs_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("task: t\ncode: !function utils.code\n", encoding="utf-8")
    assert read_yaml(path, "a task", own_tags=True) == {"task": "t", "code": None}


def test_no_other_module_loads_yaml() -> None:
    loads = re.compile(r"\byaml\.\w*load|\bmetadata_load\b")
    found = {
        path.name
        for path in Path(sftlens.__file__).parent.rglob("*.py")
        if loads.search(path.read_text(encoding="utf-8"))
    }
    assert found == set()
