"""Which parameters a restoration gives back, by an exact and total order.

The larger key comes first; of equal keys the tensor whose name is smaller in plain string order,
then the smaller flat position. Nothing depends on sharding, storage type, device, threads, or on
how many entries are worked on at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from sftlens.errors import UserError
from sftlens.progress import Advance, silent
from sftlens.weights._change import Change
from sftlens.weights._engine import Engine, Shared, best_engine
from sftlens.weights._kernels import NUM_UPPER, TALLIED, Counts, Kernels, NumpyKernels
from sftlens.weights._keys import Criterion, Order, Ranking
from sftlens.weights._pair import CheckpointPair, PairTensor, Piece
from sftlens.weights._radix import Cut, KeyCounts, added, no_upper
from sftlens.weights._shares import checked_shares, num_of_share, share_label

_SMALLEST_KEY = -(1 << 31)
_TOO_LARGE = 1e30  # divided by the 1e-8 of the relative change it still is a float32
_TOO_LARGE_PLACE = NUM_UPPER // 2 + (int(np.float32(_TOO_LARGE).view(np.int32)) >> 16)


class TensorCounts(NamedTuple):
    """One tensor's part in a selection; ``tie_quota`` of its entries at the cut are restored.

    ``num_returned`` of the restored had changed. ``num_top`` is what that number would be if the
    ties at the cut were spread evenly over all tensors that have some, instead of going by name:
    it says where changes lie, and not which names come first.
    """

    num_parameters: int
    num_changed: int
    num_restored: int
    num_returned: int
    num_top: float
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
    num_restored_small_base: int
    """How many of these have a base below 1e-4, zeros among them."""
    num_restored_zero_base: int
    """How many of these have a base of 0."""
    num_ties: int
    """Parameters whose key equals that of the last one restored."""
    norm_removed: float = field(compare=False)
    """Share of the squared norm of the region's update that is removed, a fraction; 0 where
    nothing changed. The last digits depend on the order of addition."""
    cut: Cut = field(repr=False)
    tensors: Mapping[str, TensorCounts] = field(repr=False)
    """By tensor name, in plain string order."""

    @property
    def warning(self) -> str | None:
        """What to be careful about: a share beyond what changed, one of zeros; None if nothing."""
        texts = []
        if self.num_restored > self.num_changed:
            changed = 100 * self.num_changed / self.num_parameters
            texts.append(
                f"share {share_label(self.share)}: fine-tuning changed only {changed:.2f} % of the "
                "parameters; a share beyond that restores parameters that are the base's already"
            )
        by_relative = self.criterion.ranking == "relative" and self.criterion.order == "top"
        if by_relative and 2 * self.num_restored_zero_base > self.num_restored_changed:
            texts.append(
                f"share {share_label(self.share)}: {self.num_restored_zero_base:,} of the "
                f"{self.num_restored_changed:,} changed parameters that it restores are 0 in the "
                "base, which puts any change of them first"
            )
        return "; ".join(texts) or None

    def masks(
        self, pair: CheckpointPair, name: str, size: int | None = None
    ) -> Iterator[tuple[Piece, NDArray[np.bool_]]]:
        """The pieces of one tensor, each with its mask: bool, (num_entries,), True is restored.

        Args:
            pair: the pair that the selection was made on.
            name: a tensor of the selection's region.
            size: entries to a piece; the masks put together do not depend on it.
        """
        kernels = NumpyKernels()
        marker = self.marker(name)
        tensor = pair.tensors[name]
        for piece in pair.pieces(tensor, size or kernels.piece_size):
            change = kernels.change(piece.base, piece.tuned)
            keys = kernels.keys(self.criterion, change, name, piece.start)
            yield piece, marker.mask(kernels, keys)

    def marker(self, name: str) -> Marker:
        """What marks the restored entries of a tensor."""
        return Marker(self.cut.key, self.tensors[name].tie_quota)


class Marker:
    """Marks the restored among the entries of one tensor, which come in their order.

    Args:
        cut: the key above which entries are restored.
        quota: how many of those equal to it are.
    """

    def __init__(self, cut: int, quota: int) -> None:
        self._cut = cut
        self._quota = quota

    def mask(self, kernels: Kernels, keys: Any) -> Any:
        """Bool, (num_entries,), of the kind that the kernels work on."""
        mask, used = kernels.mask(keys, self._cut, self._quota)
        self._quota -= used
        return mask


def select(
    pair: CheckpointPair,
    *,
    shares: Sequence[float],
    ranking: Ranking = "relative",
    order: Order = "top",
    region: str = "blocks",
    seed: int = 0,
    piece_size: int | None = None,
    engine: Engine | None = None,
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
        region: a region of the pair, such as ``blocks``.
        seed: of the random ranking.
        piece_size: entries worked on at once; the result does not depend on it.
        engine: what the passes run on, by default the fastest there is.
        advance: is told the number of entries done, three times those of the region in all.

    Raises:
        UserError: when a share is no percent, the ranking, order or region is not known, the
            region is empty, or a weight is NaN or infinite (the message names the tensor).
    """
    shares = checked_shares(shares)
    criterion = checked_criterion(ranking, order, region, seed)
    tensors = pair.region(region)
    num_parameters = pair.num_parameters(region)
    ranks = [num_of_share(share, num_parameters) for share in shares]
    passes = Passes(pair, tensors, engine or best_engine(num_parameters), piece_size, advance)
    counts = _count(passes, criterion, ranks)
    return tallied(passes, criterion, shares, [counts.cut(rank) for rank in ranks])


def checked_criterion(ranking: str, order: str, region: str, seed: int) -> Criterion:
    """A criterion of known words.

    Raises:
        UserError: when the ranking or the order is not known.
    """
    for called, word, known in (("ranking", ranking, Ranking), ("order", order, Order)):
        if word not in get_args(known):
            raise UserError(f"{called} {word!r}: choose from {', '.join(get_args(known))}")
    return Criterion(ranking, order, region, seed)  # type: ignore[arg-type]


class Passes(NamedTuple):
    """What passes over the same tensors have in common."""

    pair: CheckpointPair
    tensors: Sequence[PairTensor]
    engine: Engine
    piece_size: int | None
    advance: Advance

    def changes(self, kernels: Kernels, tensor: PairTensor) -> Iterator[tuple[int, Change]]:
        """The start and the change of every piece of a tensor."""
        for piece in self.pieces(kernels, tensor):
            yield piece.start, kernels.change(piece.base, piece.tuned)

    def pieces(self, kernels: Kernels, tensor: PairTensor) -> Iterator[Piece]:
        """The pieces of a tensor, of the size that suits the kernels."""
        for piece in self.pair.pieces(tensor, self.piece_size or kernels.piece_size):
            yield piece
            self.advance(len(piece.base))

    def require_finite(self, kernels: Kernels, tensor: PairTensor, absolute: Counts) -> None:
        """Refuse a tensor as :meth:`finite_changes` does, by the counts of its absolute changes."""
        if absolute[_TOO_LARGE_PLACE:].any():
            for _ in self.finite_changes(kernels, tensor):
                pass

    def finite_changes(self, kernels: Kernels, tensor: PairTensor) -> Iterator[tuple[int, Change]]:
        """The same, of weights that can be ranked.

        Raises:
            UserError: when an entry is NaN or infinite on either side, or so large that its
                relative change could be more than float32 holds.
        """
        for piece in self.pieces(kernels, tensor):
            change = kernels.change(piece.base, piece.tuned)
            if not kernels.all_below(change, _TOO_LARGE):
                raise _not_comparable(self.pair, tensor, piece)
            yield piece.start, change


def require_finite(
    pair: CheckpointPair,
    region: str,
    *,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> None:
    """Read a region once and refuse weights that cannot be compared, as :func:`select` does.

    Raises:
        UserError: when a weight is NaN or infinite; the message names the tensor.
    """

    def read(kernels: Kernels, tensor: PairTensor) -> None:
        for _ in passes.finite_changes(kernels, tensor):
            pass

    engine = engine or best_engine(pair.num_parameters(region))
    passes = Passes(pair, pair.region(region), engine, None, advance)
    engine.each(passes.tensors, read)


def _not_comparable(pair: CheckpointPair, tensor: PairTensor, piece: Piece) -> UserError:
    base, tuned = (side.double().numpy() for side in (piece.base, piece.tuned))
    with np.errstate(invalid="ignore"):
        place = int(np.argmin(np.abs(tuned - base) < _TOO_LARGE))
    stored = float(pair.base_files.entries(tensor.base)[piece.start + place])
    if math.isfinite(stored) and math.isinf(base[place]) and math.isfinite(tuned[place]):
        return UserError(
            f"{tensor.name!r} holds {stored} in the base ({tensor.base.file}, flat position "
            f"{piece.start + place}), more than {tensor.tuned.dtype}, the tuned model's storage "
            f"type, can hold; save the tuned model as {tensor.base.dtype}"
        )
    values = {"base": stored, "tuned model": float(tuned[place])}
    side = max(values, key=lambda side: _wildness(values[side]))
    file = (tensor.base if side == "base" else tensor.tuned).file
    return UserError(
        f"{tensor.name!r} holds {values[side]} in the {side} ({file}, flat position "
        f"{piece.start + place}), which cannot be compared; give a checkpoint of finite weights"
    )


def _wildness(value: float) -> float:
    return math.inf if math.isnan(value) else abs(value)


def _count(passes: Passes, criterion: Criterion, ranks: Sequence[int]) -> KeyCounts:
    """Two passes: the counts that the cuts are read from."""
    upper = Shared(no_upper)

    def first(kernels: Kernels, tensor: PairTensor) -> None:
        for start, change in passes.finite_changes(kernels, tensor):
            keys = kernels.keys(criterion, change, tensor.name, start)
            kernels.count_upper(keys, upper.of(kernels))

    passes.engine.each(passes.tensors, first)
    counts = KeyCounts(added(upper.parts(), no_upper()), ranks)
    lower = Shared(lambda: np.zeros_like(counts.lower))

    def second(kernels: Kernels, tensor: PairTensor) -> None:
        for start, change in passes.changes(kernels, tensor):
            keys = kernels.keys(criterion, change, tensor.name, start)
            kernels.count_lower(keys, counts.slots, lower.of(kernels))

    if counts.needs_second_pass:
        passes.engine.each(passes.tensors, second)
        counts.add_lower(lower.parts())
    else:
        passes.advance(sum(tensor.num_parameters for tensor in passes.tensors))
    return counts


class _Sums(NamedTuple):
    """Of a set of entries of one tensor, or of several put together."""

    num_entries: int
    num_changed: int
    norm: float  # sum of the squared changes
    num_small_base: int  # of the changed
    num_zero_base: int  # likewise

    @classmethod
    def of(cls, row: NDArray[np.float64]) -> _Sums:
        return cls(int(row[0]), int(row[1]), float(row[2]), int(row[3]), int(row[4]))


class _Tally(NamedTuple):
    """What one cut takes of one tensor."""

    above: _Sums
    tied: _Sums


def tallied(
    passes: Passes, criterion: Criterion, shares: Sequence[float], cuts: Sequence[Cut]
) -> list[Selection]:
    """What each cut restores: one pass more, and a look at the tensor that a tie ends in.

    Args:
        passes: over the region's tensors.
        criterion: how they are ranked.
        shares: the percents.
        cuts: where each share cuts the order.
    """
    cut_keys = np.array([*(cut.key for cut in cuts), _SMALLEST_KEY], dtype=np.int32)

    def tally(kernels: Kernels, tensor: PairTensor) -> NDArray[np.float64]:
        sums = np.zeros((2, len(cut_keys), TALLIED))
        for start, change in passes.changes(kernels, tensor):
            keys = kernels.keys(criterion, change, tensor.name, start)
            sums += kernels.tally(keys, change, cut_keys)
        return sums

    tables = passes.engine.each(passes.tensors, tally)
    whole = {name: _Sums.of(table[:, -1].sum(axis=0)) for name, table in tables.items()}
    selections = []
    for number, (share, cut) in enumerate(zip(shares, cuts, strict=True)):
        tallies = {
            name: _Tally(*(_Sums.of(row) for row in table[:, number]))
            for name, table in tables.items()
        }
        selections.append(_selection(passes, criterion, share, cut, tallies, whole))
    return selections


def _selection(
    passes: Passes,
    criterion: Criterion,
    share: float,
    cut: Cut,
    tallies: Mapping[str, _Tally],
    whole: Mapping[str, _Sums],
) -> Selection:
    tensors: dict[str, TensorCounts] = {}
    restored: list[_Sums] = []
    num_ties = sum(tally.tied.num_entries for tally in tallies.values()) if cut.quota else 0
    quota_left = cut.quota
    for tensor in passes.tensors:
        above, tied = tallies[tensor.name]
        quota = min(tied.num_entries, quota_left)
        part = cut.quota / num_ties if num_ties else 0.0
        num_top = above.num_changed + part * tied.num_changed
        if not quota or not tied.num_changed:
            tied = _Sums(quota, 0, 0.0, 0, 0)
        elif quota < tied.num_entries:
            tied = _first_ties(passes, criterion, tensor, cut.key, quota)
        restored += [above, tied]
        quota_left -= quota
        tensors[tensor.name] = TensorCounts(
            num_parameters=whole[tensor.name].num_entries,
            num_changed=whole[tensor.name].num_changed,
            num_restored=above.num_entries + quota,
            num_returned=above.num_changed + tied.num_changed,
            num_top=num_top,
            tie_quota=quota,
        )
    norm = math.fsum(sums.norm for sums in whole.values())
    norm_restored = math.fsum(sums.norm for sums in restored)
    return Selection(
        share=share,
        criterion=criterion,
        num_parameters=sum(counts.num_parameters for counts in tensors.values()),
        num_changed=sum(counts.num_changed for counts in tensors.values()),
        num_restored=cut.num_above + cut.quota,
        num_restored_changed=sum(sums.num_changed for sums in restored),
        num_restored_small_base=sum(sums.num_small_base for sums in restored),
        num_restored_zero_base=sum(sums.num_zero_base for sums in restored),
        num_ties=num_ties,
        norm_removed=min(1.0, norm_restored / norm) if norm else 0.0,
        cut=cut,
        tensors=tensors,
    )


def _first_ties(
    passes: Passes, criterion: Criterion, tensor: PairTensor, cut: int, quota: int
) -> _Sums:
    """Of the first ``quota`` entries of a tensor whose key is that of the cut."""
    kernels = NumpyKernels()
    found, left = np.zeros(TALLIED), quota
    for piece in passes.pair.pieces(tensor, kernels.piece_size):
        change = kernels.change(piece.base, piece.tuned)
        keys = kernels.keys(criterion, change, tensor.name, piece.start)
        ties = np.flatnonzero(keys == cut)[:left]
        own = Change(change.base[ties], change.absolute[ties])
        found += kernels.tally(keys[ties], own, np.array([cut], dtype=np.int32)).tied[0]
        left -= len(ties)
        if not left:
            break
    return _Sums.of(found)
