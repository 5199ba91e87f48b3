"""A probe that is killed goes on, and ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from killed import in_own_process
from sftlens.generation import TransformersGenerator
from sftlens.mastery import Ledger, run_probe
from sftlens.mastery._ledger import Entry
from tiny_world import PROBE

_random = random.Random(0)
MOMENTS = [
    (_random.randrange(1, 6), _random.choice(["before", "torn", "after"])) for _ in range(20)
]
SETTINGS = PROBE.model_copy(update={"categories": True})


def small_batches(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Let the generator make many batches."""

    def init(self: TransformersGenerator, model: Any, tokenizer: Any) -> None:
        whole(self, model, tokenizer, max_batch_tokens=256)

    whole = TransformersGenerator.__init__
    if monkeypatch is None:
        TransformersGenerator.__init__ = init  # type: ignore[method-assign]
    else:
        monkeypatch.setattr(TransformersGenerator, "__init__", init)


def probe_killed_at(base: Path, world: Path, out: Path, batch: int, when: str) -> None:
    """Probe until a batch reaches the ledger, and die before, over or after writing it."""
    left = batch
    add = Ledger.add

    def killed(self: Ledger, entries: list[Entry]) -> None:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        add(self, entries)
        if left == 0:
            if when == "torn":
                size = self._lines.stat().st_size
                os.truncate(self._lines, size - random.Random(batch).randrange(1, 40))
            os.kill(os.getpid(), signal.SIGKILL)

    Ledger.add = killed  # type: ignore[method-assign]
    small_batches()
    run_probe(str(base), str(world), out, SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(base: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "mastery"
    with pytest.MonkeyPatch.context() as patch:
        small_batches(patch)
        run_probe(str(base), str(world), out, SETTINGS)
    return out


def ledgers(out: Path) -> dict[str, pl.DataFrame]:
    return {
        path.parent.name: Ledger(out / "ledger", pl.read_json(path).to_dicts()[0]).table()
        for path in (out / "ledger").glob("*/about.json")
    }


def same(out: Path, undisturbed: Path) -> None:
    names = ["completions", "greedy", "mastery", "templates", "facts"]
    for name in names:
        one, two = (pl.read_parquet(folder / f"{name}.parquet") for folder in (out, undisturbed))
        assert one.equals(two), name
    assert (ours := ledgers(out)).keys() == (theirs := ledgers(undisturbed)).keys()
    assert all(ours[key].equals(theirs[key]) for key in theirs)
    assert sum(map(len, theirs.values())) == 142 * 2 * 5


def test_killed_at_twenty_moments(
    base: Path, world: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mastery"
    for batch, when in MOMENTS:
        assert in_own_process(probe_killed_at, base, world, out, batch, when) == -signal.SIGKILL
    run_probe(str(base), str(world), out, SETTINGS)
    same(out, undisturbed)
    assert list(tmp_path.iterdir()) == [out]
