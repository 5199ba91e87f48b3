"""Where fine-tuning moved the weights, and how concentrated the change is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sftlens.progress import Advance, silent
from sftlens.weights._concentration import held, total
from sftlens.weights._engine import Engine, Shared, best_engine
from sftlens.weights._kernels import MEASURES, NUM_UPPER, Counts, Kernels, Measure, Null
from sftlens.weights._keys import Criterion
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._radix import KeyCounts, added, no_upper
from sftlens.weights._selection import Passes, Selection, tallied
from sftlens.weights._shares import checked_shares, num_of_share, share_label
from sftlens.weights._tensor_table import TensorSums, by_place, tensor_table

if TYPE_CHECKING:
    import polars as pl

NULL_ENTRIES = 1 << 26
"""How many entries of a large region the null is measured on."""

PAPER_SHARES = (1, 3, 5, 10, 20, 40, 60)


@dataclass(frozen=True, kw_only=True)
class Diff:
    """What fine-tuning did to a region; made by :func:`diff`."""

    region: str
    num_parameters: int
    num_changed: int
    concentration: dict[str, dict[str, float | None]]
    """By measure (``relative``, ``absolute``, ``null``), then by share as written: the fraction of
    the measure's sum that the top share holds; None where nothing changed."""
    tensors: pl.DataFrame
    """One row a tensor of the region: name, layer, module, region, num_parameters, num_changed,
    sum_relative, sum_absolute, and ``num_restored_{share}``, how many of the entries that a
    restoration of this share by relative change gives back lie in it. ``region`` here is the
    tensor's own kind: block, norm, embedding, head or other."""
    histogram: pl.DataFrame
    """How many parameters changed by how much: measure (``relative`` or ``absolute``), low, high,
    num_parameters. A bin holds the changes from ``low`` to below ``high``, each twice the one
    before; the bin from 0 to 0 holds what did not change. Empty bins are left out."""
    selections: list[Selection]
    """One a share, by relative change."""

    def by(self, place: str) -> pl.DataFrame:
        """The tensors of each layer, or of each module, put together (paper Tables 9 and 10).

        Args:
            place: ``layer`` or ``module``.

        Returns:
            One row a layer or module: its name; num_parameters; num_changed; ``relative`` and
            ``absolute``, its fraction of the region's summed change; ``restored_{share}``, the
            fraction of the restored entries that lie in it. Fractions are None where there is
            nothing to divide.
        """
        return by_place(self.tensors, place)


def diff(
    pair: CheckpointPair,
    *,
    region: str = "blocks",
    shares: Sequence[float] = PAPER_SHARES,
    seed: int = 0,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> Diff:
    """Compare two checkpoints entry by entry (paper section 6, Tables 3, 9 and 10).

    ``relative`` and ``absolute`` are the two changes. ``null`` is the relative change that there
    would be if the size of a change had nothing to do with the size of its weight: abs(t - b) is
    shuffled against abs(b), each among runs of 2^15 consecutive entries of a tensor, by a seeded
    permutation. Of a region of 2^27 entries or more, every s-th run of each tensor takes part, s
    being its size over 2^26. The paper's concentration says something about the tuned model only so
    far as it exceeds that of ``null``.

    Args:
        pair: the aligned checkpoints.
        region: a region of the pair, such as ``blocks``.
        shares: percents of the region's parameters.
        seed: of the shuffle.
        engine: what the passes run on, by default the fastest there is.
        advance: is told the number of entries done, three times those of the region in all.

    Raises:
        UserError: as :func:`select`.
    """
    shares = checked_shares(shares)
    tensors = pair.region(region)
    num_parameters = pair.num_parameters(region)
    engine = engine or best_engine(num_parameters)
    passes = Passes(pair, tensors, engine, None, advance)
    null = Null(seed, max(1, num_parameters // NULL_ENTRIES))
    first = _first_pass(passes, null)
    ranks = {
        measure: [num_of_share(share, int(upper[:, 0].sum())) for share in shares]
        for measure, upper in first.upper.items()
    }
    counts = _second_pass(passes, first.upper, ranks, null)
    cuts = [counts["relative"].cut(rank) for rank in ranks["relative"]]
    selections = tallied(passes, Criterion(region=region), shares, cuts)
    num_changed = selections[0].num_changed
    return Diff(
        region=region,
        num_parameters=num_parameters,
        num_changed=num_changed,
        concentration={
            measure: {
                share_label(share): held(counts[measure], rank)
                for share, rank in zip(shares, ranks[measure], strict=True)
            }
            for measure in MEASURES
        },
        tensors=tensor_table(tensors, selections, first.sums),
        histogram=_histogram(first.upper, num_parameters - num_changed),
        selections=selections,
    )


class _FirstPass(NamedTuple):
    upper: dict[Measure, Counts]
    sums: dict[str, TensorSums]  # by tensor name


def _first_pass(passes: Passes, null: Null) -> _FirstPass:
    upper = {measure: Shared(no_upper) for measure in MEASURES}

    def first(kernels: Kernels, tensor: PairTensor) -> TensorSums:
        own = {measure: no_upper() for measure in MEASURES}
        for start, change in passes.changes(kernels, tensor):
            kernels.count_measures(change, start, null, [own[measure] for measure in MEASURES])
        passes.require_finite(kernels, tensor, own["absolute"])
        for measure, counts in own.items():
            np.add(upper[measure].of(kernels), counts, out=upper[measure].of(kernels))
        return TensorSums(total(own["relative"]), total(own["absolute"]))

    sums = passes.engine.each(passes.tensors, first)
    return _FirstPass({m: added(upper[m].parts(), no_upper()) for m in MEASURES}, sums)


def _second_pass(
    passes: Passes,
    upper: Mapping[Measure, Counts],
    ranks: Mapping[Measure, Sequence[int]],
    null: Null,
) -> dict[Measure, KeyCounts]:
    counts = {measure: KeyCounts(upper[measure], ranks[measure]) for measure in MEASURES}
    lower = [Shared(partial(np.zeros_like, found.lower)) for found in counts.values()]
    slots = [found.slots for found in counts.values()]

    def second(kernels: Kernels, tensor: PairTensor) -> None:
        for start, change in passes.changes(kernels, tensor):
            own = [shared.of(kernels) for shared in lower]
            kernels.count_measures_lower(change, start, null, slots, own)

    passes.engine.each(passes.tensors, second)
    for found, shared in zip(counts.values(), lower, strict=True):
        found.add_lower(shared.parts())
    return counts


def _histogram(upper: Mapping[Measure, Counts], num_unchanged: int) -> pl.DataFrame:
    import polars as pl

    rows: list[tuple[str, float, float, int]] = []
    places: tuple[Measure, ...] = ("relative", "absolute")
    for measure in places:
        by_exponent = upper[measure][NUM_UPPER // 2 :, 0].reshape(256, 128).sum(axis=1)
        by_exponent[0] -= num_unchanged
        rows.append((measure, 0.0, 0.0, num_unchanged))
        for exponent in np.flatnonzero(by_exponent).tolist():
            low = 2.0 ** (exponent - 127) if exponent else 0.0
            rows.append((measure, low, 2.0 ** (exponent - 126), int(by_exponent[exponent])))
    schema = {
        "measure": pl.String,
        "low": pl.Float64,
        "high": pl.Float64,
        "num_parameters": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
