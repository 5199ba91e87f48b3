"""The folder that a command writes: one at a time, whole or not at all, checked, gone on with."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from killed import in_own_process, kill_at
from sftlens import disk
from sftlens.errors import FullDiskError, UserError
from sftlens.locks import locked
from sftlens.manifest import MANIFEST
from sftlens.output_folder import OutputFolder, open_output

CONFIG = {"seed": 3}
RESUMED = ("cache/*.part",)


def fill(output: OutputFolder) -> None:
    (output.work / "cache").mkdir(exist_ok=True)
    (output.work / "cache" / "1.part").write_text("a completion")
    (output.work / "sub").mkdir(exist_ok=True)
    (output.work / "sub" / "table").write_text("content")
    (output.work / "README.md").write_text("what was done\n")


def make(out: Path, *, resumed: tuple[str, ...] = (), config: dict = CONFIG) -> str:
    """Make an output or find it finished; says which."""
    with open_output(out, stage="probe", config=config, resumed=resumed) as output:
        if output.finished is not None:
            assert output.finished == {"n": 1}
            return "finished"
        fill(output)
        output.complete({"n": 1})
    return "made"


def fail(out: Path, error: BaseException, work: Callable[[OutputFolder], object] = fill) -> None:
    with open_output(out, stage="probe", config=CONFIG, resumed=RESUMED) as output:
        work(output)
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("resumed", [(), RESUMED])
def test_it_appears_whole_and_is_left_as_it_is(tmp_path: Path, resumed: tuple[str, ...]) -> None:
    out = tmp_path / "deep" / "out"
    with open_output(out, stage="probe", config=CONFIG, resumed=resumed) as output:
        assert not out.exists()
        fill(output)
        output.complete({"n": 1})
    assert names(out) == ["README.md", "cache", MANIFEST, "sub"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert make(out, resumed=resumed) == "finished"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert names(out.parent) == ["out"]
    with pytest.raises(UserError, match="holds something already"):
        make(out, config={"seed": 4})


def test_a_refusal_before_any_work_leaves_nothing(tmp_path: Path) -> None:
    for work in (lambda _: None, lambda output: output.work, _write_other):
        with pytest.raises(UserError, match="no model"):
            fail(tmp_path / "deep" / "out", UserError("no model"), work)
        assert names(tmp_path) == []


def _write_other(output: OutputFolder) -> None:
    (output.work / "cache").mkdir()
    (output.work / "cache" / "about.json").write_text("{}")


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt(), UserError("gone")])
def test_what_can_be_gone_on_from_stays(tmp_path: Path, error: BaseException) -> None:
    out = tmp_path / "out"
    with pytest.raises(type(error)):
        fail(out, error)
    (left,) = names(tmp_path)
    assert left.startswith(".out.probe-")
    with open_output(out, stage="probe", config=CONFIG, resumed=RESUMED) as output:
        assert (output.work / "cache" / "1.part").read_text() == "a completion"
        output.complete({"n": 1})
    assert names(tmp_path) == ["out"]


def test_of_what_is_not_resumed_nothing_stays(tmp_path: Path) -> None:
    def broken() -> None:
        with open_output(tmp_path / "out", stage="tune", config=CONFIG) as output:
            fill(output)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert names(tmp_path) == []


def test_what_killed_ones_of_any_host_left_goes(tmp_path: Path) -> None:
    """With the lock nobody else can be at work, whatever host the name tells of."""
    for name in (".out.partial-ffffffff-1-abc", ".out.partial-file", ".other.partial-ffffffff-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(bytes(1000))
    assert make(tmp_path / "out") == "made"
    assert names(tmp_path) == [".other.partial-ffffffff-1", "out"]


def test_only_one_is_at_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_output(out, stage="probe", config=CONFIG) as first:
        fill(first)
        with pytest.raises(UserError, match=f"out: process {os.getpid()} on .* has been at work"):
            make(out, config={"seed": 4})
    assert names(tmp_path) == []


def test_finished_needs_no_lock(tmp_path: Path) -> None:
    make(tmp_path / "out")
    with locked(tmp_path / "out"):  # such as in a folder that cannot be written to
        assert make(tmp_path / "out") == "finished"


@pytest.mark.parametrize("name", ["README.md", "sub/table", "cache/1.part"])
@pytest.mark.parametrize("size", [None, 0, 3])
def test_a_damaged_folder_is_made_again(
    tmp_path: Path, name: str, size: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    make(out)
    (out / "sub" / "mine").write_text("mine")
    (out / "link").symlink_to("nowhere")
    whole = (out / name).read_text()
    (out / name).unlink()
    if size is not None:
        (out / name).write_text(whole[:size])
    assert make(out) == "made"
    fault = "missing" if size is None else f"cut short ({size} of {len(whole)} bytes)"
    assert capsys.readouterr().err == f"{out}: {name} is {fault}; it is made again\n"
    assert (out / name).read_text() == whole
    assert (out / "sub" / "mine").read_text() == "mine"
    assert (out / "link").is_symlink()
    assert make(out) == "finished"
    assert names(tmp_path) == ["out"]


def test_making_it_again_goes_on_from_what_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out, resumed=RESUMED)
    (out / "sub" / "table").write_text("")
    with open_output(out, stage="probe", config=CONFIG, resumed=RESUMED) as output:
        assert (output.work / "cache" / "1.part").read_text() == "a completion"
        assert not (output.work / "sub").exists()
        fill(output)
        output.complete({"n": 1})
    (out / "cache" / "1.part").write_text("")
    with open_output(out, stage="probe", config=CONFIG, resumed=RESUMED) as output:
        assert not (output.work / "cache").exists()


def test_the_damaged_folder_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out)
    (out / "sub" / "table").unlink()
    with pytest.raises(UserError, match="no model"):
        fail(out, UserError("no model"), lambda _: None)
    assert names(out) == ["README.md", "cache", MANIFEST, "sub"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("moment", [("os.rename", ".out.replaced"), ("os.rename", "/out")])
def test_killed_while_a_damaged_folder_is_replaced(tmp_path: Path, moment: tuple[str, str]) -> None:
    out = tmp_path / "out"
    make(out)
    (out / "mine").write_text("mine")
    (out / "sub" / "table").unlink()
    assert kill_at(*moment, 1, make, out) == -signal.SIGKILL
    assert make(out) == "made"
    assert (out / "mine").read_text() == "mine"
    assert (out / "sub" / "table").read_text() == "content"
    assert names(tmp_path) == ["out"]


def test_killed_at_its_very_end_it_leaves_no_lock_for_good(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert kill_at("os.remove", ".out.lock", 1, make, out) == -signal.SIGKILL
    assert names(tmp_path) == [".out.lock", "out"]
    assert make(out) == "finished"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("content", ["", '{"stage": "pro', "\0\0\0"])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    make(out)
    (out / MANIFEST).write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: is damaged; remove its folder"):
        make(out)
    assert names(tmp_path) == ["out"]


def test_a_folder_without_a_record_is_taken_as_it_is(tmp_path: Path) -> None:
    """Of a version that recorded no files."""
    out = tmp_path / "out"
    make(out)
    text = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(text[: text.index(',\n  "files"')] + "\n}\n")
    (out / "sub" / "table").unlink()
    assert make(out) == "finished"


def test_what_is_of_use_until_it_is_whole(tmp_path: Path) -> None:
    def again() -> str:
        with open_output(
            tmp_path / "out", stage="probe", config=CONFIG, resumed=RESUMED, temporary=("cache",)
        ) as output:
            if output.finished is not None:
                return "finished"
            fill(output)
            output.complete({"n": 1})
        return "made"

    assert again() == "made"
    assert names(tmp_path / "out") == ["README.md", MANIFEST, "sub"]
    (tmp_path / "out" / "cache").mkdir()  # as if it had been killed over its removal
    assert again() == "finished"
    assert names(tmp_path / "out") == ["README.md", MANIFEST, "sub"]


def test_others_files_that_came_meanwhile_are_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def other(output: OutputFolder) -> None:
        fill(output)
        out.mkdir()
        (out / "mine").write_text("mine")
        output.complete({"n": 1})

    with pytest.raises(OSError, match="not empty"):
        fail(out, RuntimeError(), other)
    assert names(out) == ["mine"]


def test_a_full_disk_is_one_line_with_what_is_needed(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def full(output: OutputFolder) -> None:
        output.require_space(1234)
        output.needed = 5_000_000_000
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output.work / "weights"))

    with pytest.raises(FullDiskError) as refused:
        fail(out, RuntimeError(), full)
    assert str(refused.value) == (
        f"{out}: could not be written, the disk is full; make room (it takes 5.00 GB) or choose "
        "another place"
    )
    assert names(tmp_path) == []


def test_own_leftovers_count_as_free_and_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(disk, "free_bytes", lambda _: 500_000_000)
    with pytest.raises(RuntimeError):
        fail(out, RuntimeError())
    (own,) = tmp_path.iterdir()
    with (own / "cache" / "2.part").open("wb") as file:
        file.truncate(400_000_000)

    def needs(num_bytes: int) -> Callable[[OutputFolder], None]:
        return lambda output: output.require_space(num_bytes, advice="fewer shares")

    with pytest.raises(RuntimeError):
        fail(out, RuntimeError(), needs(900_000_000))
    other = tmp_path / ".out.repair-0123456789abcdef"
    other.mkdir()
    with (other / "weights").open("wb") as file:
        file.truncate(70_000_000)
    with pytest.raises(UserError) as refused:
        fail(out, RuntimeError(), needs(901_000_000))
    assert str(refused.value) == (
        f"{out}: needs 0.50 GB, and the disk has 0.50 GB free (.out.repair-0123456789abcdef beside "
        "it holds 0.07 GB of other unfinished work); choose another place, or fewer shares"
    )


def test_several_processes_share_the_work_of_one(tmp_path: Path) -> None:
    """Those that do not lead take no lock, and their failure removes nothing."""
    out = tmp_path / "out"
    shared = {"stage": "probe", "config": CONFIG, "resumed": RESUMED}
    with open_output(out, **shared) as output:
        with open_output(out, **shared, leads=False) as other:
            assert other.work == output.work
        fill(output)
        output.complete({"n": 1})
    assert in_own_process(make, out) == 0
