"""What restorations of a pair remove, measured on what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sftlens.norms import is_same_norm
from sftlens.progress import Advance, silent
from sftlens.rounding import fixed
from sftlens.weights._apply import apply
from sftlens.weights._engine import Engine, best_engine
from sftlens.weights._pair import CheckpointPair
from sftlens.weights._plan import Planned, Request, plan
from sftlens.weights._restored_output import RestoredOutput
from sftlens.weights._shares import share_label
from sftlens.weights._storage import stored_type
from sftlens.weights._taken import Taken
from sftlens.weights._writer import ModelWriter


class Measured(NamedTuple):
    """A restoration that was asked for, and what it takes back; ``output`` has no path."""

    planned: Planned
    output: RestoredOutput


def measure_restorations(
    pair: CheckpointPair,
    request: Request,
    *,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> list[Measured]:
    """One restoration a share, and what each removes of what is stored or evaluated.

    Args:
        pair: the aligned checkpoints.
        request: what to do.
        engine: what the passes run on, by default the fastest there is.
        advance: as for :func:`preview_restoration`.

    Raises:
        UserError: as :func:`select`.
    """
    request = request.checked()
    engine = engine or best_engine(pair.num_parameters(request.region))
    planned = plan(pair, request, engine=engine, advance=advance)
    if request.is_counted(pair):
        sums: list[Taken | None] = [None for _ in planned]
    else:
        sums = carry_out(pair, request, planned, [], engine, advance)
    return [
        Measured(one, output_of(pair, request, one, found))
        for one, found in zip(planned, sums, strict=True)
    ]


def carry_out(
    pair: CheckpointPair,
    request: Request,
    planned: Sequence[Planned],
    writers: Sequence[ModelWriter],
    engine: Engine,
    advance: Advance,
) -> list[Taken | None]:
    """Go over the region once: write what there are writers for, measure what is not counted."""
    ways = [p.restoration for p in planned]
    region, dtype = request.region, request.dtype
    if request.is_counted(pair):
        apply(pair, region, ways, writers, engine, advance, dtype=dtype, measured=False)
        return [None for _ in planned]
    return [*apply(pair, region, ways, writers, engine, advance, dtype=dtype)]


def output_of(
    pair: CheckpointPair, request: Request, planned: Planned, found: Taken | None
) -> RestoredOutput:
    """What is reported of a restoration; ``found`` is None where its selection counts it."""
    selection = planned.selection
    counted = planned.num_restored is not None
    ranked = selection if counted else None
    if found is None:
        assert selection is not None
        num_restored_changed, norm_removed = selection.num_restored_changed, selection.norm_removed
    else:
        num_restored_changed, norm_removed = found.num_returned, found.norm_removed
    dtype = request.dtype or stored_type(tensor.tuned for tensor in pair.region(request.region))
    warnings = [
        selection.warning if selection else None,
        _unreached(planned, norm_removed, dtype),
        _rounded_away(request, planned, found, dtype),
    ]
    return RestoredOutput(
        share=planned.share,
        path=None,
        dtype=dtype,
        num_parameters=pair.num_parameters(request.region),
        num_restored=planned.num_restored,
        num_restored_changed=num_restored_changed if counted else None,
        num_restored_small_base=ranked.num_restored_small_base if ranked else None,
        num_restored_zero_base=ranked.num_restored_zero_base if ranked else None,
        num_ties=ranked.num_ties if ranked else None,
        norm_removed=norm_removed,
        norm_to_match=planned.norm_to_match,
        alpha=planned.alpha,
        warning="; ".join(filter(None, warnings)) or None,
    )


def _unreached(planned: Planned, removed: float, dtype: str) -> str | None:
    """The warning where a strength was searched for and none removes what was to be matched."""
    target = planned.norm_to_match
    if target is None or planned.share is None or is_same_norm(removed, target):
        return None
    return (
        f"share {share_label(planned.share)}: no interpolation stored in {dtype} removes the "
        f"{fixed(100 * target, 2)} % of the squared norm that relative does; the nearest removes "
        f"{fixed(100 * removed, 2)} %" + _remedy(dtype)
    )


def _rounded_away(
    request: Request, planned: Planned, found: Taken | None, dtype: str
) -> str | None:
    """The warning where the storage type and not the strength decides what a method removes."""
    if found is None or planned.norm_to_match is not None:
        return None
    exact, stored = found.norm_removed_exact, found.norm_removed
    if is_same_norm(stored, exact):
        return None
    share = "" if planned.share is None else f"share {share_label(planned.share)}: "
    return (
        f"{share}{request.method} {_effect(exact)} of the squared norm in float32, and "
        f"{_effect(stored)} as stored in {dtype}" + _remedy(dtype)
    )


def _effect(norm_removed: float) -> str:
    return f"{'adds' if norm_removed < 0 else 'removes'} {fixed(100 * abs(norm_removed), 2)} %"


def _remedy(dtype: str) -> str:
    return "" if dtype == "float32" else " (--dtype float32 stores it)"
