"""Which parameters a restoration gives back, by an exact and total order.

The larger key comes first; of equal keys the tensor whose name is smaller in plain string order,
then the smaller flat position. Nothing depends on sharding, storage type, threads, or on how many
entries are worked on at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sftlens.errors import UserError
from sftlens.progress import Advance, silent
from sftlens.weights._change import (
    Change,
    Keys,
    Order,
    Ranking,
    change_of,
    ranking_keys,
)
from sftlens.weights._pair import PIECE, CheckpointPair, PairTensor, Piece
from sftlens.weights._radix import Cut, KeyCounts
from sftlens.weights._shares import checked_shares, num_of_share, share_label

_TOO_LARGE = 1e30  # divided by the 1e-8 of the relative change it still is a float32


class Criterion(NamedTuple):
    """How a region's parameters are ranked."""

    ranking: Ranking = "relative"
    order: Order = "top"
    region: str = "blocks"
    seed: int = 0

    def keys(self, tensor: PairTensor, piece: Piece, change: Change) -> Keys:
        """The keys of a piece, (num_entries,)."""
        return ranking_keys(
            self.ranking,
            self.order,
            change,
            name=tensor.name,
            start=piece.start,
            seed=self.seed,
        )


class TensorCounts(NamedTuple):
    """One tensor's part in a selection; ``tie_quota`` of its entries at the cut are restored."""

    num_parameters: int
    num_changed: int
    num_restored: int
    tie_quota: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The parameters that one share gives back; made by :func:`select`."""

    share: float
    """Percent of the region's parameters."""
    criterion: Criterion
    num_parameters: int
    """Parameters of the region."""
    num_changed: int
    """How many of them fine-tuning changed."""
    num_restored: int
    """floor(num_parameters * share / 100)."""
    num_restored_changed: int
    """How many of the restored had changed."""
    num_ties: int
    """Parameters whose key equals that of the last one restored."""
    norm_removed: float
    """Share of the squared norm of the region's update that is removed, a fraction; 0 where
    nothing changed."""
    cut: Cut = field(repr=False)
    tensors: Mapping[str, TensorCounts] = field(repr=False)
    """By tensor name, in plain string order."""

    @property
    def warning(self) -> str | None:
        """What to tell when the share goes beyond what fine-tuning changed, else None."""
        if self.num_restored <= self.num_changed:
            return None
        changed = 100 * self.num_changed / self.num_parameters
        return (
            f"share {share_label(self.share)}: fine-tuning changed only {changed:.2f} % of the "
            "parameters; a share beyond that restores parameters that are the base's already"
        )

    def masks(
        self, pair: CheckpointPair, name: str, size: int = PIECE
    ) -> Iterator[tuple[Piece, Tensor]]:
        """The pieces of one tensor, each with its mask: bool, (num_entries,), True is restored.

        Args:
            pair: the pair that the selection was made on.
            name: a tensor of the selection's region.
            size: entries to a piece; the masks put together do not depend on it.
        """
        tensor = pair.tensors[name]
        marker = Marker(self.cut, self.tensors[name].tie_quota)
        for piece in pair.pieces(tensor, size):
            change = change_of(piece.base, piece.tuned)
            keys = self.criterion.keys(tensor, piece, change)
            yield piece, torch.from_numpy(marker.mask(keys))


class Marker:
    """Marks the restored among entries that come in the total order of ties."""

    def __init__(self, cut: Cut, quota: int) -> None:
        self._key = cut.key
        self._quota = quota

    def mask(self, keys: Keys) -> NDArray[np.bool_]:
        """Bool, (num_entries,): above the cut, or among the first ties that remain to be marked."""
        mask = keys > self._key
        if self._quota:
            ties = keys == self._key
            num_ties = int(np.count_nonzero(ties))
            if num_ties <= self._quota:
                mask |= ties
            else:
                mask[np.flatnonzero(ties)[: self._quota]] = True
            self._quota -= min(num_ties, self._quota)
        return mask


def select(
    pair: CheckpointPair,
    *,
    shares: Sequence[float],
    ranking: Ranking = "relative",
    order: Order = "top",
    region: str = "blocks",
    seed: int = 0,
    piece_size: int = PIECE,
    advance: Advance = silent,
) -> list[Selection]:
    """The parameters that each share gives back (paper section 6), in three passes over the pair.

    Args:
        pair: the aligned checkpoints.
        shares: percents of the region's parameters; counted exactly, as the decimal they are
            written as.
        ranking: what is restored first: the largest ``relative`` or ``absolute`` change, a
            ``random`` choice, or the smallest abs(base) (``small-base``).
        order: ``bottom`` restores the other end of the ranking first.
        region: ``blocks``, ``embeddings`` or ``all``.
        seed: of the random ranking.
        piece_size: entries worked on at once; the result does not depend on it.
        advance: is told the number of entries done, three times those of the region in all.

    Raises:
        UserError: when a share is no percent, the ranking, order or region is not known, the
            region is empty, or a weight is NaN or infinite (the message names the tensor).
    """
    shares = checked_shares(shares)
    criterion = checked_criterion(ranking, order, region, seed)
    cuts = find_cuts(pair, criterion, shares, piece_size=piece_size, advance=advance)
    tally = Tally(cuts)
    for tensor in pair.region(region):
        tally.begin(tensor)
        for piece in pair.pieces(tensor, piece_size):
            change = change_of(piece.base, piece.tuned)
            tally.add(change, criterion.keys(tensor, piece, change))
            advance(len(change.base))
    return tally.selections(criterion, shares)


def checked_criterion(ranking: str, order: str, region: str, seed: int) -> Criterion:
    """A criterion of known words.

    Raises:
        UserError: when the ranking or the order is not known.
    """
    for called, word, known in (("ranking", ranking, Ranking), ("order", order, Order)):
        if word not in get_args(known):
            raise UserError(f"{called} {word!r}: choose from {', '.join(get_args(known))}")
    return Criterion(ranking, order, region, seed)  # type: ignore[arg-type]


def find_cuts(
    pair: CheckpointPair,
    criterion: Criterion,
    shares: Sequence[float],
    *,
    piece_size: int = PIECE,
    advance: Advance = silent,
) -> list[Cut]:
    """Where each share cuts the order: two passes, which also find NaN and infinities."""
    tensors = pair.region(criterion.region)
    num_parameters = pair.num_parameters(criterion.region)
    ranks = [num_of_share(share, num_parameters) for share in shares]
    counts = KeyCounts()
    for tensor in tensors:
        for piece in pair.pieces(tensor, piece_size):
            change = change_of(piece.base, piece.tuned)
            require_finite(tensor, piece, change)
            counts.count_upper(criterion.keys(tensor, piece, change))
            advance(len(change.base))
    counts.ask(ranks)
    for tensor in tensors:
        for piece in pair.pieces(tensor, piece_size):
            change = change_of(piece.base, piece.tuned)
            counts.count_lower(criterion.keys(tensor, piece, change))
            advance(len(change.base))
    return [counts.cut(rank) for rank in ranks]


def require_finite(tensor: PairTensor, piece: Piece, change: Change) -> None:
    """Refuse weights that cannot be ranked.

    Raises:
        UserError: when an entry of the piece is NaN or infinite on either side, or so large that
            its relative change could be more than float32 holds.
    """
    if change.absolute.max() < _TOO_LARGE:  # False for NaN as well
        return
    place = int(np.argmin(change.absolute < _TOO_LARGE))
    values = {"base": float(piece.base[place]), "tuned model": float(piece.tuned[place])}
    side = max(values, key=lambda side: _wildness(values[side]))
    file = (tensor.base if side == "base" else tensor.tuned).file
    raise UserError(
        f"{tensor.name!r} holds {values[side]} in the {side} ({file}, flat position "
        f"{piece.start + place}), which cannot be compared; give a checkpoint of finite weights"
    )


def _wildness(value: float) -> float:
    return math.inf if math.isnan(value) else abs(value)


class Tally:
    """Counts, for several cuts at once, what each restores; fed in the order of ties."""

    def __init__(self, cuts: Sequence[Cut]) -> None:
        self._cuts = cuts
        self._keys = sorted({cut.key for cut in cuts})
        self._places = [self._keys.index(cut.key) for cut in cuts]
        self._num_restored_changed = [0] * len(cuts)
        self._num_ties = [0] * len(cuts)
        self._norm_removed = [0.0] * len(cuts)
        self._norm = 0.0
        self._quota_left = [cut.quota for cut in cuts]
        self._tensors: list[dict[str, TensorCounts]] = [{} for _ in cuts]
        self._name = ""

    def begin(self, tensor: PairTensor) -> None:
        """The next entries are those of this tensor, from its first."""
        self._name = tensor.name
        for tensors in self._tensors:
            tensors[tensor.name] = TensorCounts(0, 0, 0, 0)

    def add(self, change: Change, keys: Keys) -> None:
        """Count a piece."""
        # Even classes lie between two cuts, odd ones are the entries equal to a cut.
        num_classes = 2 * len(self._keys) + 1
        classes = np.zeros(len(keys), dtype=np.min_scalar_type(2 * num_classes))
        for key in self._keys:
            classes += keys > key
            classes += keys >= key
        squares = np.square(change.absolute, dtype=np.float64)
        norms = np.bincount(classes, weights=squares, minlength=num_classes).tolist()
        classes *= 2
        classes += change.absolute > 0
        counts = np.bincount(classes, minlength=2 * num_classes).reshape(num_classes, 2)
        entries, changed = counts.sum(axis=1).tolist(), counts[:, 1].tolist()
        self._norm += sum(norms)
        for number, place in enumerate(self._places):
            at, above = 2 * place + 1, slice(2 * place + 2, None)
            quota = min(entries[at], self._quota_left[number])
            tied = changed[at], norms[at]
            if 0 < quota < entries[at]:
                first = np.flatnonzero(keys == self._keys[place])[:quota]
                tied = int(np.count_nonzero(change.absolute[first])), float(squares[first].sum())
            elif quota == 0:
                tied = 0, 0.0
            self._quota_left[number] -= quota
            self._num_ties[number] += entries[at]
            self._num_restored_changed[number] += sum(changed[above]) + tied[0]
            self._norm_removed[number] += sum(norms[above]) + tied[1]
            before = self._tensors[number][self._name]
            self._tensors[number][self._name] = TensorCounts(
                before.num_parameters + len(keys),
                before.num_changed + sum(changed),
                before.num_restored + sum(entries[above]) + quota,
                before.tie_quota + quota,
            )

    def selections(self, criterion: Criterion, shares: Sequence[float]) -> list[Selection]:
        """One selection a cut, when every entry of the region was added."""
        return [
            Selection(
                share=share,
                criterion=criterion,
                num_parameters=sum(counts.num_parameters for counts in tensors.values()),
                num_changed=sum(counts.num_changed for counts in tensors.values()),
                num_restored=cut.num_above + cut.quota,
                num_restored_changed=self._num_restored_changed[number],
                num_ties=self._num_ties[number] if cut.quota else 0,
                norm_removed=min(1.0, self._norm_removed[number] / self._norm)
                if self._norm
                else 0.0,
                cut=cut,
                tensors=tensors,
            )
            for number, (share, cut, tensors) in enumerate(
                zip(shares, self._cuts, self._tensors, strict=True)
            )
        ]
