"""One process at a time at work on an output."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sftlens.errors import UserError
from sftlens.locks import clear_lock, locked

HOLDS = """
import sys
from pathlib import Path
from sftlens.locks import locked
with locked(Path(sys.argv[1]), inside=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path, *inside: str) -> subprocess.Popen[str]:
    """A process that holds the lock until a line comes, or it is killed."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDS, str(path), *inside]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", unsupported)


def leave(path: Path, **told: object) -> Path:
    """The lock of a process that was killed."""
    lock = path.with_name(f".{path.name}.lock")
    lock.write_text(json.dumps(told))
    return lock


@pytest.mark.parametrize("inside", [(), ("inside",)])
def test_the_second_learns_who_is_at_work(tmp_path: Path, inside: tuple[str, ...]) -> None:
    out = tmp_path / "deep" / "out"
    first = holder(out, *inside)
    try:
        with pytest.raises(UserError) as refused, locked(out, inside=bool(inside)):
            pytest.fail("two at a time")
        line = str(refused.value)
        assert line.startswith(f"{out}: process {first.pid} on {socket.gethostname()} (")
        assert re.search(r"has been at work on it since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line)
        assert line.endswith("wait for its end, or choose another place")
    finally:
        first.communicate("\n")
    assert first.returncode == 0
    assert list(tmp_path.iterdir()) == []  # the folders that were made for it are gone as well


def test_one_process_holds_it_once(tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        with pytest.raises(UserError, match=f"process {os.getpid()} on"), locked(tmp_path / "out"):
            pytest.fail("two at a time")
        with locked(tmp_path / "another"):
            pass
    with locked(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(3):
        killed = holder(out)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
    with locked(out), pytest.raises(UserError, match=f"process {os.getpid()} on"), locked(out):
        pytest.fail("two at a time")
    assert list(tmp_path.iterdir()) == []


def test_what_another_machine_left_is_in_nobodys_way(tmp_path: Path) -> None:
    leave(tmp_path / "out", process=1, host="another", host_key="another", since="2026-01-01")
    with locked(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("told", ["", "[]", "{", "\0" * 40, '{"process": null}'])
def test_a_damaged_lock_is_in_nobodys_way(tmp_path: Path, told: str) -> None:
    (tmp_path / ".out.lock").write_text(told)
    with locked(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_left_is_cleared(tmp_path: Path) -> None:
    lock = leave(tmp_path / "out", process=1)
    clear_lock(tmp_path / "out")
    assert not lock.exists()
    with locked(tmp_path / "out"):
        clear_lock(tmp_path / "out")
        assert lock.exists()


def test_a_lock_that_is_removed_while_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder of the opened file ends before we lock it: another file has to be locked."""
    lock = leave(tmp_path / "out", process=1)
    taken: list[os.stat_result] = []
    flock = fcntl.flock

    def late(handle: int, how: int) -> None:
        taken.append(os.fstat(handle))
        if len(taken) == 1:
            lock.unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path / "out"):
        assert len(taken) == 2
        assert os.path.samestat(lock.stat(), taken[1])


@pytest.mark.usefixtures("without_flock")
class TestWithoutLocksOfTheFileSystem:
    def test_one_at_a_time(self, tmp_path: Path) -> None:
        with (
            locked(tmp_path / "out"),
            pytest.raises(UserError, match=f"process {os.getpid()} on"),
            locked(tmp_path / "out"),
        ):
            pytest.fail("two at a time")
        assert list(tmp_path.iterdir()) == []

    def test_what_a_killed_process_of_this_host_left(self, tmp_path: Path) -> None:
        killed = holder(tmp_path / "out")
        killed.kill()
        killed.communicate()
        with locked(tmp_path / "out"):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_what_another_machine_left_is_removed_by_hand(self, tmp_path: Path) -> None:
        lock = leave(tmp_path / "out", process=7, host="far", host_key="another", since="then")
        with pytest.raises(UserError, match="process 7 on far") as refused:
            locked(tmp_path / "out").__enter__()
        assert str(refused.value).endswith(f"; if that process has ended, remove {lock}")
        lock.unlink()  # the remedy
        with locked(tmp_path / "out"):
            pass


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="choose a place you may write to"):
        locked(tmp_path / "out").__enter__()
