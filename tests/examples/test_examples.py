"""The examples, with the models of the test run instead of those that they make."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
import torch

from sftlens.mastery import read_mastery
from sftlens.weights import open_pair, taken_back
from tiny_world import small_preset

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    for path in EXAMPLES.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)


@pytest.fixture
def shared(
    examples: None,
    monkeypatch: pytest.MonkeyPatch,
    world: Path,
    base: Path,
    mastery_folder: Path,
    tuned: Path,
) -> ModuleType:
    """The example ``scale_model``, which gives the models of the test run."""
    import scale_model

    models = scale_model.ScaleModels(world, base, mastery_folder, tuned)
    monkeypatch.setattr(scale_model, "scale_models", lambda *arguments, **others: models)
    return scale_model


def test_the_scale_models_are_made_once(examples: None, tmp_path: Path) -> None:
    from scale_model import scale_models

    with small_preset():
        models = scale_models(tmp_path, num_facts=10, num_epochs=1)
        made = {path: (path / "manifest.json").stat().st_mtime_ns for path in models}
        assert scale_models(tmp_path, num_facts=10, num_epochs=1) == models
    assert made == {path: (path / "manifest.json").stat().st_mtime_ns for path in models}
    assert not read_mastery(models.mastery).table.is_empty()


def test_lost_facts_are_those_mastered_and_answered_wrongly(
    shared: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import what_was_lost

    monkeypatch.setenv("COLUMNS", "200")
    models = shared.scale_models()
    table = what_was_lost.answers(str(models.tuned), str(models.world), models.mastery)
    mastered = table.filter(pl.col("mastery") > 0.5)
    num_lost = int((~mastered["correct"]).sum())
    assert num_lost > 0
    what_was_lost.main(["--show", "2"])
    printed = capsys.readouterr().out
    assert f"{num_lost} of the {len(mastered)} facts" in printed
    best = mastered.filter(~pl.col("correct")).sort("mastery", "fact_id", descending=[True, False])
    assert best["question"][0] in printed
    assert best["right"][0] in printed


@pytest.mark.usefixtures("shared")
def test_a_method_of_ones_own_is_compared_at_the_same_norm(
    base: Path, tuned: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import own_method

    pair = open_pair(base, tuned)
    for _, norm, ways in own_method.comparisons(pair, [0.05]):
        names = ["capped", "relative", "random", "interpolation"]
        assert [*ways] == names
        taken = taken_back(pair, [*ways.values()], region="blocks")
        assert [one.norm_removed for one in taken] == pytest.approx([norm] * 4, rel=0.02)
        assert 0.01 < norm < 0.99
    monkeypatch.setenv("COLUMNS", "200")
    own_method.main(["--caps", "0.05"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert len(rows) == 2
    assert f"{norm:.1%}" in rows[1]


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("cap", [0.0, 0.05, math.inf])
def test_no_parameter_changes_by_more_than_the_cap(cap: float) -> None:
    from types import SimpleNamespace

    from own_method import Capped

    base = torch.randn(1000)
    base[:10] = 0
    tuned = base + 0.1 * torch.randn(1000)
    repair = Capped(cap=cap).begin(None, None, None)  # type: ignore[arg-type]
    capped = repair(SimpleNamespace(base=base, tuned=tuned))
    if cap == math.inf:
        assert torch.equal(capped[10:], tuned[10:])
    else:
        assert ((capped - base).abs() <= cap * base.abs() + 1e-6).all()
    kept = (tuned - base).abs() < cap * base.abs()
    assert torch.equal(capped[kept], tuned[kept])
