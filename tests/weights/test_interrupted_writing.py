"""Restored models whose writing is killed, or runs out of disk: whole, or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import save_model, write_copy, write_restored

from killed import kill_at

SHARES = (20, 40)
STEP = "tests.step"


def restore_telling(base: Path, tuned: Path, out: Path) -> None:
    """Restore, with an audit event at each step of the progress."""
    write_restored(base, tuned, SHARES, out, advance=lambda _: sys.audit(STEP, ""))


@pytest.fixture(scope="module")
def num_steps(tmp_path_factory: pytest.TempPathFactory, base16: Path, tuned16: Path) -> int:
    steps: list[int] = []
    out = tmp_path_factory.mktemp("counted") / "out"
    write_restored(base16, tuned16, SHARES, out, advance=steps.append)
    return len(steps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, base16: Path, tuned16: Path) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    write_restored(base16, tuned16, SHARES, out)
    return content(out)


def content(out: Path) -> dict[str, str]:
    """The hash of every file; of the manifests, which hold the time, what they say of models."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.name == "manifest.json":
            outputs = json.loads(path.read_text())["result"]["outputs"]
            told = [{**output, "path": Path(output["path"]).name} for output in outputs]
            found[str(path.relative_to(out))] = json.dumps(told)
        elif path.is_file():
            found[str(path.relative_to(out))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


# The fraction of the progress at which the process is killed, or an event of a path.
MOMENTS: list[float | tuple[str, str, int]] = [
    *(0.0, 0.35, 0.6, 0.7, 0.8, 0.9, 1.0),
    ("open", ".safetensors", 7),
    ("open", "README.md", 1),
    ("open", "manifest.json", 2),
    ("os.rename", "/out", 1),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_killed_at_any_moment(
    tmp_path: Path,
    base16: Path,
    tuned16: Path,
    whole: dict[str, str],
    num_steps: int,
    moment: float | tuple[str, str, int],
) -> None:
    out = tmp_path / "place" / "out"
    if isinstance(moment, float):
        event, ending, count = STEP, "", max(1, round(moment * num_steps))
    else:
        event, ending, count = moment
    assert kill_at(event, ending, count, restore_telling, base16, tuned16, out) == -signal.SIGKILL
    assert not out.exists()
    write_restored(base16, tuned16, SHARES, out)
    assert content(out) == whole
    assert list(out.parent.iterdir()) == [out]


def test_killed_again_and_again(
    tmp_path: Path, base16: Path, tuned16: Path, whole: dict[str, str], num_steps: int
) -> None:
    out = tmp_path / "place" / "out"
    for count in (num_steps // 2, num_steps, num_steps // 3):
        code = kill_at(STEP, "", count, restore_telling, base16, tuned16, out)
        assert code == -signal.SIGKILL
    write_restored(base16, tuned16, SHARES, out)
    assert content(out) == whole
    assert list(out.parent.iterdir()) == [out]


def test_killed_after_the_last_step_nothing_is_lost(
    tmp_path: Path, base16: Path, tuned16: Path, whole: dict[str, str], num_steps: int
) -> None:
    """The moment that never comes: the process ends as it should, and the folder is whole."""
    out = tmp_path / "place" / "out"
    assert kill_at(STEP, "", num_steps + 1, restore_telling, base16, tuned16, out) == 0
    assert content(out) == whole


# Restores once for each disk, in one process. The check beforehand is told of an empty disk, as
# when another program fills it while we write.
_RESTORE_ONTO_EACH = """
import collections, contextlib, io, json, pathlib, shutil, sys
Usage = collections.namedtuple("Usage", "total used free")
shutil.disk_usage = lambda _: Usage(10**12, 0, 10**12)
from sftlens.cli import main
base, tuned, *disks = sys.argv[1:]
for disk in disks:
    out, err = io.StringIO(), io.StringIO()
    shares = ("--share", "20", "--share", "40")
    sys.argv = ["sftlens", "restore", base, tuned, *shares, "--out", f"{disk}/out"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    left = [path.name for path in pathlib.Path(disk).rglob("*")]
    told = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "left": left}
    print(json.dumps(told), flush=True)
"""
DISKS = (40_000, 500_000, 700_000, 4_000_000)
"""Bytes; two models of 0.4 MB do not fit on the first three, and do on the last."""


@pytest.fixture(scope="module")
def restored_onto_disks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict]:
    """What a restoration onto a disk of each size said and left."""
    if shutil.which("unshare") is None:
        pytest.skip("a file system of a given size needs `unshare`, of Linux")
    folder = tmp_path_factory.mktemp("disks")
    base = save_model(folder / "base", "llama", vocab_size=3000)
    tuned = write_copy(
        base,
        folder / "tuned",
        lambda tensors: {name: 1.01 * tensor for name, tensor in tensors.items()},
        num_shards=2,
    )
    places = [folder / str(size) for size in DISKS]
    mounts = [f'mount -t tmpfs -o size={place.name} tmpfs "{place}"' for place in places]
    for place in places:
        place.mkdir()
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    tried = subprocess.run([*isolated, mounts[0]], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no file system of a given size can be mounted: {tried.stderr.strip()}")
    command = [sys.executable, "-c", _RESTORE_ONTO_EACH, *map(str, [base, tuned, *places])]
    script = " && ".join([*mounts, 'exec "$@"'])
    done = subprocess.run(
        [*isolated, script, "sh", *command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(DISKS, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("size", DISKS[:-1])
def test_a_disk_that_fills_up_while_writing(restored_onto_disks: dict, size: int) -> None:
    done = restored_onto_disks[size]
    assert done["code"] == 2
    assert done["out"] == ""
    lines = [line for line in done["err"].splitlines() if not line.startswith("restoring: ")]
    assert len(lines) == 1
    assert lines[0].startswith("sftlens: ")
    assert "the disk is full" in lines[0]
    assert done["left"] == []


def test_a_disk_that_is_large_enough(restored_onto_disks: dict) -> None:
    """So that above it is the disk that fails."""
    done = restored_onto_disks[DISKS[-1]]
    assert done["code"] == 0, done["err"]
    assert done["left"].count("config.json") == 2
