"""Methods at the strength at which they remove a given norm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import moved, read_tensors, save_model, write_copy, write_restored

from sftlens.errors import UserError
from sftlens.weights import (
    NORM_TOLERANCE,
    CheckpointPair,
    Request,
    match_removed_norm,
    measure_restorations,
    open_pair,
)

METHODS = [
    *("random", "absolute", "small-base", "relative-bottom", "ties", "fapm"),
    *("lines", "breadcrumbs", "wise-ft"),
]
IN_STEPS = {"lines", "breadcrumbs", "wise-ft"}
"""At a low strength LiNeS is lost in the rounding of bfloat16, and Breadcrumbs takes a few of the
largest entries of all matrices at once."""


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["f32", "bf16"])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of 30,000 parameters, of which one entry is less than the tolerance."""
    folder = tmp_path_factory.mktemp("wide")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    base = save_model(folder / "base", "llama", dtype=request.param, **shape)
    return [base, write_copy(base, folder / "tuned", moved(1e-3, share=0.8), num_shards=2)]


def norm_removed(pair: CheckpointPair, folder: Path) -> float:
    base, tuned, after = map(read_tensors, (pair.base.folder, pair.tuned.folder, folder))
    left = full = 0.0
    for name in (tensor.name for tensor in pair.region("blocks")):
        left += float((after[name].double() - base[name].double()).square().sum())
        full += float((tuned[name].double() - base[name].double()).square().sum())
    return 1 - left / full


@pytest.mark.parametrize("name", METHODS)
def test_what_is_written_removes_what_was_asked(
    wide: list[Path], tmp_path: Path, name: str
) -> None:
    pair = open_pair(*wide)
    order = "bottom" if name.endswith("-bottom") else "top"
    request = Request(method=name.removesuffix("-bottom"), order=order, seed=2)
    targets = [0.03, 0.2, 0.5]
    found = match_removed_norm(pair, request, targets)
    assert [one.target for one in found] == targets
    for target, one in zip(targets, found, strict=True):
        planned, output = one.restoration
        assert planned.share is not None
        assert planned.share == output.share
        words = {"method": request.method, "order": order, "seed": 2}
        out = tmp_path / f"{target}"
        [written] = write_restored(*wide, [planned.share], out, **words)
        removed = norm_removed(pair, written.path)
        assert removed == pytest.approx(output.norm_removed, abs=1e-6)
        if target > 0.03 or name not in IN_STEPS:
            assert one.is_reached
            assert removed == pytest.approx(target, rel=NORM_TOLERANCE + 1e-4)
        else:
            assert removed == pytest.approx(target, rel=0.5)


def test_what_cannot_be_reached_is_told(pair: CheckpointPair) -> None:
    """LiNeS leaves the last block as it is; half reset goes by whole matrices."""
    [most] = measure_restorations(pair, Request("lines", (100,)))
    few, [all_of_it] = (
        match_removed_norm(pair, Request(method), targets)
        for method, targets in (("half-reset", [0.01, 0.5]), ("lines", [0.99]))
    )
    assert not all_of_it.is_reached
    assert all_of_it.restoration.output == most.output
    steps = {
        one.output.norm_removed
        for one in measure_restorations(pair, Request("half-reset", tuple(range(101))))
    }
    for one in few:
        nearest = min(abs(step - one.target) for step in steps)
        missed = abs(one.restoration.output.norm_removed - one.target)
        assert missed == pytest.approx(nearest)
        assert one.is_reached == (nearest <= NORM_TOLERANCE * one.target)


def test_nothing_to_remove(pair: CheckpointPair, base: Path) -> None:
    [nothing] = match_removed_norm(pair, Request("random"), [0.0])
    assert (nothing.restoration.planned.share, nothing.is_reached) == (0.0, True)
    [same] = match_removed_norm(open_pair(base, base), Request("random"), [0.5])
    assert (same.restoration.output.norm_removed, same.is_reached) == (0.0, False)


@pytest.mark.parametrize(
    ("request_", "targets", "told"),
    [
        (Request("dare"), [0.1], "enlarges"),
        (Request("dg-hard"), [0.1], "no strength"),
        (Request("interpolation"), [0.1], "already"),
        (Request("random", (10,)), [0.1], "leave them out"),
        (Request("random"), [1.5], "a fraction"),
    ],
)
def test_what_is_refused(
    pair: CheckpointPair, request_: Request, targets: list[float], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        match_removed_norm(pair, request_, targets)
