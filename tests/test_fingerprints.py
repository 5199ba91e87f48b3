"""Whether files are still what they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlens import fingerprints as room
from sftlens.fingerprints import fingerprints, first_fault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    (out / "model").mkdir(parents=True)
    (out / "table.parquet").write_bytes(bytes(range(200)))
    (out / "model" / "weights.safetensors").write_bytes(bytes(5000))
    (out / "README.md").write_text("what was done\n")
    (out / "config.json").write_text('{"a": 1}')
    return out


FILES = ["README.md", "config.json", "model/weights.safetensors", "table.parquet"]


def test_every_file_is_taken(folder: Path) -> None:
    (folder / ".table.parquet.partial-1").write_text("half")
    assert list(fingerprints(folder)) == FILES
    assert list(fingerprints(folder, leave_out=("model",))) == [FILES[0], FILES[1], FILES[3]]
    assert first_fault(folder, fingerprints(folder)) is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("sizes_only", [False, True])
def test_what_is_missing_or_cut_short(folder: Path, name: str, sizes_only: bool) -> None:
    files = fingerprints(folder)
    whole = (folder / name).read_bytes()
    for size in (0, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:size])
        told = f"{name} is cut short ({size} of {len(whole)} bytes)"
        assert first_fault(folder, files, sizes_only=sizes_only) == told
    (folder / name).unlink()
    assert first_fault(folder, files, sizes_only=sizes_only) == f"{name} is missing"


@pytest.mark.parametrize("name", ["model/weights.safetensors", "table.parquet"])
def test_one_other_byte(folder: Path, name: str) -> None:
    files = fingerprints(folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert first_fault(folder, files) == f"{name} was changed"
    assert first_fault(folder, files, sizes_only=True) is None


def test_texts_may_be_edited(folder: Path) -> None:
    files = fingerprints(folder)
    (folder / "README.md").write_text("what was done, and by whom\n")
    (folder / "config.json").write_text('{"a": 1, "b": 2}')
    (folder / "mine").write_text("added")
    assert first_fault(folder, files) is None
    (folder / "config.json").write_text('{"a": 1, "b": ')
    assert first_fault(folder, files) == "config.json was changed"


def test_of_large_files_the_ends_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_WHOLE", 1000)
    monkeypatch.setattr(room, "_END", 100)
    name = "model/weights.safetensors"
    files = fingerprints(folder)
    for place, told in ((50, f"{name} was changed"), (2500, None), (4950, f"{name} was changed")):
        content = bytearray(5000)
        content[place] = 1
        (folder / name).write_bytes(content)
        assert first_fault(folder, files) == told


@pytest.mark.parametrize(
    "record",
    [None, [1], "x", 3, {}, {"bytes": 2}, {"bytes": [1], "sha256": "0"}, {"bytes": 2, "sha256": 3}],
)
@pytest.mark.parametrize("sizes_only", [False, True])
def test_a_record_that_is_none(folder: Path, record: object, sizes_only: bool) -> None:
    files = {**fingerprints(folder), "table.parquet": record}
    told = "the record of table.parquet is damaged"
    assert first_fault(folder, files, sizes_only=sizes_only) == told


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "no/such"])
def test_a_name_that_no_file_has(folder: Path, name: str) -> None:
    files = {name: {"bytes": 1, "sha256": "0"}}
    assert first_fault(folder, files) == f"{name} is missing"
