"""Outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftlens.errors import UserError
from sftlens.outputs import new_file, new_folder, require_free


def fill(folder: Path) -> None:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "file").write_text("content")


def fail_after(work: Callable[[Path], None], path: Path, error: type[BaseException]) -> None:
    work(path)
    raise error


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out) as work:
        fill(work)
        assert not out.exists()
        assert work.parent == out.parent
    assert (out / "sub" / "file").read_text() == "content"
    assert list(out.parent.iterdir()) == [out]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as work:
        fill(work)
    assert (tmp_path / "out" / "sub" / "file").is_file()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_a_block_that_fails(tmp_path: Path, error: type) -> None:
    with pytest.raises(error), new_folder(tmp_path / "out") as work:
        fail_after(fill, work, error)
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    work = tmp_path / ".out.work"
    with pytest.raises(RuntimeError), new_folder(out, work=work) as folder:
        fail_after(fill, folder, RuntimeError)
    assert list(tmp_path.iterdir()) == [work]
    with new_folder(out, work=work) as folder:
        assert (folder / "sub" / "file").read_text() == "content"
    assert list(tmp_path.iterdir()) == [out]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    full = tmp_path / "full"
    full.mkdir()
    fill(full)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for path in (file, full, link):
        with pytest.raises(UserError, match="holds something already"):
            require_free(path)
        with pytest.raises(UserError), new_folder(path):
            pytest.fail("the block must not run")
    with pytest.raises(UserError, match="is a file"):
        require_free(file / "below" / "it")
    assert file.read_text() == "mine"
    require_free(tmp_path / "absent" / "below")


def test_a_file_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    for content in ("first", "second"):
        with new_file(path) as partial:
            partial.write_text(content)
        assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(RuntimeError), new_file(path) as partial:
        fail_after(Path.touch, partial, RuntimeError)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_full_disk_is_told(tmp_path: Path, error: Exception) -> None:
    for make in (new_folder, new_file):
        with pytest.raises(UserError, match="the disk is full"), make(tmp_path / "out"):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), new_folder(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "Permission denied")


WRITES = """
import sys
from pathlib import Path
from sftlens.outputs import new_file, new_folder
make, path = {"file": new_file, "folder": new_folder}[sys.argv[1]], Path(sys.argv[2])
with make(path) as partial:
    (partial / "half" if partial.is_dir() else partial).write_text("1")
    print(partial.name, flush=True)
    sys.stdin.readline()
"""


def writing(kind: str, path: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing an output."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WRITES, kind, str(path)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def told(process: subprocess.Popen[str]) -> str:
    """What it calls what it writes."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def mark(partial: Path, text: str) -> Path:
    """Write into an unfinished file or folder."""
    file = partial / "half" if partial.is_dir() else partial
    file.write_text(text)
    return file


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_killed_processes_left_is_cleared(tmp_path: Path, kind: str) -> None:
    make = {"file": new_file, "folder": new_folder}[kind]
    killed, alive = (writing(kind, tmp_path / "out") for _ in range(2))
    try:
        left = {told(killed), told(alive)}
        assert {path.name for path in tmp_path.iterdir()} == left
        killed.kill()
        killed.wait()
        with make(tmp_path / "out") as partial:
            mark(partial, "2")
            others = {path.name for path in tmp_path.iterdir()} - {partial.name}
            assert len(others) == 1
            assert others < left
    finally:
        alive.kill()
        alive.wait()
    assert {path.name for path in tmp_path.iterdir()} == {*others, "out"}


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_hosts_with_the_same_process_numbers_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any]
) -> None:
    """Nodes that share a folder: neither takes the other's for its own, or for left behind."""
    monkeypatch.setattr("sftlens.outputs.is_running", lambda _: False)  # no such process here

    def write_elsewhere(first: Path) -> None:
        file = mark(first, "1")
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        with make(tmp_path / "out") as second:
            assert second != first
            mark(second, "2")
        assert file.read_text() == "1"
        raise RuntimeError

    with pytest.raises(RuntimeError), make(tmp_path / "out") as first:
        write_elsewhere(first)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_one_process_writes_two_at_a_time(tmp_path: Path) -> None:
    with new_file(tmp_path / "out") as first:
        first.write_text("1")
        with new_file(tmp_path / "out") as second:
            second.write_text("2")
        assert (tmp_path / "out").read_text() == "2"
        assert first.read_text() == "1"
    assert (tmp_path / "out").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_names_with_signs_of_patterns(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out[1]*") as work:
        fill(work)
    assert (tmp_path / "out[1]*" / "sub" / "file").is_file()
