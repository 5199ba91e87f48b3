"""Where fine-tuning moved the weights, and how concentrated the change is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sftlens.progress import Advance, silent
from sftlens.rounding import fixed
from sftlens.weights._concentration import held, total
from sftlens.weights._engine import Engine, Shared, best_engine
from sftlens.weights._finite import require_finite_rest
from sftlens.weights._kernels import (
    DIVIDED,
    MEASURES,
    NUM_UPPER,
    Counts,
    Kernels,
    Measure,
    Null,
)
from sftlens.weights._keys import Criterion
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._radix import KeyCounts, PartCounts, added, no_upper
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
    num_zero_base: int
    """How many parameters of the region are 0 in the base."""
    num_small_base: int
    """How many have a base below 1e-4, zeros among them."""
    concentration_without_small_base: dict[str, dict[str, float | None]]
    """As ``concentration``, of ``relative`` and ``null``, with the parameters of a base below 1e-4
    left out: of the sum, and of the number that a share is a percent of."""
    tensors: pl.DataFrame
    """One row a tensor of the region: name, layer, module, region, num_parameters, num_changed,
    sum_relative, sum_absolute, and for each share ``num_restored_{share}``, how many of the entries
    that a restoration of this share by relative change gives back lie in it, and
    ``num_top_{share}``, how many of these had changed, if ties at the cut are spread evenly over
    the tensors and not given to the first names. ``region`` here is the tensor's own kind: block,
    norm, embedding, head or other."""
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
            fraction that lies in it of the changed entries that the share restores
            (``num_top_{share}``). Fractions are None where there is nothing to divide.
        """
        return by_place(self.tensors, place)

    @property
    def top(self) -> dict[str, TopBases]:
        """By share as written: what the base is of the entries with the largest relative change."""
        return {
            share_label(selection.share): TopBases(
                selection.num_restored_changed,
                selection.num_restored_zero_base,
                selection.num_restored_small_base,
            )
            for selection in self.selections
        }

    @property
    def notes(self) -> list[str]:
        """What to be careful about when the tables are read."""
        notes = []
        beyond = [s for s in self.selections if s.num_restored > self.num_changed]
        if beyond and self.num_changed:
            shares = ", ".join(share_label(selection.share) for selection in beyond)
            changed = fixed(100 * self.num_changed / self.num_parameters, 2)
            notes.append(
                f"fine-tuning changed only {changed} % of the parameters: of the shares "
                f"beyond that ({shares}) only changed entries count"
            )
        zeros = [(s.share, top) for s, top in zip(self.selections, self.top.values(), strict=True)]
        share, top = max(zeros, key=lambda one: one[1].num_zero / max(1, one[1].num_changed))
        if top.num_zero:
            notes.append(
                f"{self.num_zero_base:,} parameters are 0 in the base, and {top.num_zero:,} of the "
                f"{top.num_changed:,} changed entries of the top {share_label(share)} %: their "
                "relative change is abs(change) / 1e-8; read the concentration without small bases"
            )
        return notes


class TopBases(NamedTuple):
    """The bases of a share's entries: those that changed, of them those of base 0 and below 1e-4.

    The last include the zeros.
    """

    num_changed: int
    num_zero: int
    num_small: int


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
        UserError: as :func:`select`, and when a weight outside of the region is NaN or infinite.
    """
    shares = checked_shares(shares)
    tensors = pair.region(region)
    num_parameters = pair.num_parameters(region)
    engine = engine or best_engine(num_parameters)
    require_finite_rest(pair, region, engine=engine)
    passes = Passes(pair, tensors, engine, None, advance)
    null = Null(seed, max(1, num_parameters // NULL_ENTRIES))
    first = _first_pass(passes, null)
    counts = _second_pass(passes, first, shares, null)
    relative = counts["relative"]
    cuts = [relative.all.cut(rank) for rank in relative.ranks]
    selections = tallied(passes, Criterion(region=region), shares, cuts)
    num_changed = selections[0].num_changed
    return Diff(
        region=region,
        num_parameters=num_parameters,
        num_changed=num_changed,
        concentration={
            measure: _held(shares, found.all, found.ranks) for measure, found in counts.items()
        },
        num_zero_base=sum(sums.num_zero_base for sums in first.sums.values()),
        num_small_base=int(first.small["relative"][:, 0].sum()),
        concentration_without_small_base={
            measure: _held(shares, counts[measure].rest, counts[measure].rest_ranks)
            for measure in DIVIDED
        },
        tensors=tensor_table(tensors, selections, first.sums),
        histogram=_histogram(first.upper, num_parameters - num_changed),
        selections=selections,
    )


def _held(
    shares: Sequence[float], counts: KeyCounts, ranks: Sequence[int]
) -> dict[str, float | None]:
    return {share_label(s): held(counts, rank) for s, rank in zip(shares, ranks, strict=True)}


class _FirstPass(NamedTuple):
    upper: dict[Measure, Counts]
    small: dict[Measure, Counts]  # of the entries of small base alone
    sums: dict[str, TensorSums]  # by tensor name


def _first_pass(passes: Passes, null: Null) -> _FirstPass:
    upper = {measure: Shared(no_upper) for measure in MEASURES}
    small = {measure: Shared(no_upper) for measure in DIVIDED}

    def first(kernels: Kernels, tensor: PairTensor) -> TensorSums:
        own = {measure: no_upper() for measure in MEASURES}
        own_small = [small[measure].of(kernels) for measure in DIVIDED]
        num_zero = 0
        for start, change in passes.changes(kernels, tensor):
            num_zero += kernels.count_measures(change, start, null, [*own.values()], own_small)
        passes.require_finite(kernels, tensor, own["absolute"])
        for measure, counts in own.items():
            np.add(upper[measure].of(kernels), counts, out=upper[measure].of(kernels))
        return TensorSums(total(own["relative"]), total(own["absolute"]), num_zero)

    sums = passes.engine.each(passes.tensors, first)
    return _FirstPass(
        {measure: added(upper[measure].parts(), no_upper()) for measure in MEASURES},
        {measure: added(small[measure].parts(), no_upper()) for measure in DIVIDED},
        sums,
    )


def _second_pass(
    passes: Passes, first: _FirstPass, shares: Sequence[float], null: Null
) -> dict[Measure, PartCounts]:
    def ranks(num_keys: int) -> list[int]:
        return [num_of_share(share, num_keys) for share in shares]

    counts = {
        measure: PartCounts(first.upper[measure], first.small.get(measure, no_upper()), ranks)
        for measure in MEASURES
    }
    divided = [counts[measure] for measure in DIVIDED]
    lower = [Shared(found.no_lower) for found in counts.values()]
    small = [Shared(found.no_part_lower) for found in divided]

    def second(kernels: Kernels, tensor: PairTensor) -> None:
        for start, change in passes.changes(kernels, tensor):
            kernels.count_measures_lower(
                change,
                start,
                null,
                [found.slots for found in counts.values()],
                [shared.of(kernels) for shared in lower],
                [found.part_slots for found in divided],
                [shared.of(kernels) for shared in small],
            )

    passes.engine.each(passes.tensors, second)
    parts = dict(zip(DIVIDED, small, strict=True))
    for (measure, found), shared in zip(counts.items(), lower, strict=True):
        found.add_lower(shared.parts(), parts[measure].parts() if measure in parts else [])
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
