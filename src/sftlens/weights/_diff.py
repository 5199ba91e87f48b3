"""Where fine-tuning moved the weights, and how concentrated the change is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sftlens.progress import Advance, silent
from sftlens.weights._change import Change, Floats, change_of, float_keys, relative
from sftlens.weights._concentration import Concentration
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._selection import Criterion, Selection, Tally, require_finite
from sftlens.weights._shares import checked_shares, num_of_share, share_label

if TYPE_CHECKING:
    import polars as pl

PAPER_SHARES = (1, 3, 5, 10, 20, 40, 60)
NULL_BLOCK = 1 << 18
"""Entries among which the null shuffles; part of its definition."""


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
    selections: list[Selection]
    """One a share, by relative change."""


def diff(
    pair: CheckpointPair,
    *,
    region: str = "blocks",
    shares: Sequence[float] = PAPER_SHARES,
    seed: int = 0,
    advance: Advance = silent,
) -> Diff:
    """Compare two checkpoints entry by entry (paper section 6, Tables 3, 9 and 10).

    ``relative`` and ``absolute`` are the two changes. ``null`` is the relative change that there
    would be if the size of a change had nothing to do with the size of its weight: abs(t - b) is
    shuffled against abs(b), each among runs of 2^18 consecutive entries of a tensor, by a seeded
    permutation. The paper's concentration says something about the tuned model only so far as it
    exceeds that of ``null``.

    Args:
        pair: the aligned checkpoints.
        region: ``blocks``, ``embeddings`` or ``all``.
        shares: percents of the region's parameters.
        seed: of the shuffle.
        advance: is told the number of entries done, three times those of the region in all.

    Raises:
        UserError: as :func:`select`.
    """
    shares = checked_shares(shares)
    tensors = pair.region(region)
    num_parameters = pair.num_parameters(region)
    ranks = [num_of_share(share, num_parameters) for share in shares]
    measures = {"relative": Concentration(), "absolute": Concentration(), "null": Concentration()}
    sums: dict[str, tuple[float, float]] = {}
    for tensor in tensors:
        totals = [0.0, 0.0]
        for piece in pair.pieces(tensor, NULL_BLOCK):
            change = change_of(piece.base, piece.tuned)
            require_finite(tensor, piece, change)
            values = _measured(change, seed)
            for measure, concentration in measures.items():
                concentration.first_pass(values[measure])
            totals[0] += float(values["relative"].sum(dtype=np.float64))
            totals[1] += float(values["absolute"].sum(dtype=np.float64))
            advance(len(change.base))
        sums[tensor.name] = totals[0], totals[1]
    for concentration in measures.values():
        concentration.ask(ranks)
    for tensor in tensors:
        for piece in pair.pieces(tensor, NULL_BLOCK):
            change = change_of(piece.base, piece.tuned)
            values = _measured(change, seed)
            for measure, concentration in measures.items():
                concentration.second_pass(values[measure])
            advance(len(change.base))
    tally = Tally([measures["relative"].cut(rank) for rank in ranks])
    for tensor in tensors:
        tally.begin(tensor)
        for piece in pair.pieces(tensor, NULL_BLOCK):
            change = change_of(piece.base, piece.tuned)
            tally.add(change, float_keys(change.relative))
            advance(len(change.base))
    selections = tally.selections(Criterion(region=region), shares)
    return Diff(
        region=region,
        num_parameters=num_parameters,
        num_changed=selections[0].num_changed,
        concentration={
            measure: {
                share_label(share): concentration.held(rank)
                for share, rank in zip(shares, ranks, strict=True)
            }
            for measure, concentration in measures.items()
        },
        tensors=_table(tensors, sums, selections),
        selections=selections,
    )


def _measured(change: Change, seed: int) -> dict[str, Floats]:
    shuffled = change.absolute[_permutation(len(change.absolute), seed)]
    return {
        "relative": change.relative,
        "absolute": change.absolute,
        "null": relative(shuffled, change.base),
    }


@lru_cache(maxsize=16)
def _permutation(count: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(count)


def _table(
    tensors: Sequence[PairTensor],
    sums: dict[str, tuple[float, float]],
    selections: Sequence[Selection],
) -> pl.DataFrame:
    import polars as pl

    rows: list[dict[str, Any]] = []
    for tensor in tensors:
        counts = [selection.tensors[tensor.name] for selection in selections]
        row = {
            "name": tensor.name,
            "layer": tensor.role.layer,
            "module": tensor.role.module,
            "region": tensor.role.kind,
            "num_parameters": tensor.num_parameters,
            "num_changed": counts[0].num_changed,
            "sum_relative": sums[tensor.name][0],
            "sum_absolute": sums[tensor.name][1],
        }
        for selection, count in zip(selections, counts, strict=True):
            row[f"num_restored_{share_label(selection.share)}"] = count.num_restored
        rows.append(row)
    schema = {"name": pl.String, "layer": pl.Int64, "module": pl.String, "region": pl.String}
    return pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
