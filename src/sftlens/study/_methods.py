"""What the names of methods in a study file stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, cast, get_args

from sftlens.errors import UserError
from sftlens.storage_types import StorageType
from sftlens.weights import (
    CheckpointPair,
    Measured,
    Method,
    Request,
    match_removed_norm,
    measure_restorations,
    require_matchable,
    share_label,
)

BOTTOM = "-bottom"
"""After a ranking: its other end."""

MATCHED = "-matched"
"""After a method: at the strength at which it removes as much norm as ``relative``."""

_WITHOUT_SHARE: Method = "dg-hard"
_REFERENCE: Method = "relative"


class Named(NamedTuple):
    """A method of a study file.

    Attributes:
        request: the restoration, without shares.
        is_matched: whether its strength follows from what ``relative`` removes.
    """

    request: Request
    is_matched: bool

    @property
    def takes_shares(self) -> bool:
        """Whether it is done once for each share of the study, and not once."""
        return self.request.method != _WITHOUT_SHARE


class Way(NamedTuple):
    """One restoration of a study.

    Attributes:
        method: its name in the study file.
        share: percent of the study; None for a method that takes none.
        restoration: what it does and takes back; its own share is the method's strength.
        norm_to_match: what ``relative`` removes at the share, where the strength follows from it.
    """

    method: str
    share: float | None
    restoration: Measured
    norm_to_match: float | None = None

    @property
    def name(self) -> str:
        """Unique among the restorations of a model."""
        return self.method if self.share is None else f"{self.method}-{share_label(self.share)}"


def named_method(name: str, seed: int = 0) -> Named:
    """The method that a name stands for.

    Raises:
        UserError: when there is no such method, or what is written after it has no meaning there.
    """
    plain = name.removesuffix(MATCHED)
    method = plain.removesuffix(BOTTOM)
    if method not in get_args(Method):
        raise UserError(
            f"{name!r} is unknown; choose from {', '.join(get_args(Method))}; a ranking may be "
            f"followed by {BOTTOM}, and what has a strength by {MATCHED}"
        )
    order: Literal["top", "bottom"] = "bottom" if plain.endswith(BOTTOM) else "top"
    request = Request(cast(Method, method), order=order, seed=seed)
    request._replace(shares=() if method == _WITHOUT_SHARE else (1.0,)).checked()
    is_matched = name.endswith(MATCHED)
    if is_matched:
        if plain == _REFERENCE:
            raise UserError(f"{name!r}: the others are matched to {plain}; write {plain}")
        try:
            require_matchable(method)
        except UserError as error:
            raise UserError(f"{name!r}: {error}, or {plain} without {MATCHED}") from None
    return Named(request, is_matched)


def num_restorations(methods: Sequence[str], shares: Sequence[float]) -> int:
    """How many restorations of a model a study asks for."""
    return sum(len(shares) if named_method(name).takes_shares else 1 for name in methods)


def restorations(
    pair: CheckpointPair,
    methods: Sequence[str],
    shares: Sequence[float],
    seed: int,
    dtype: StorageType | None = None,
) -> Iterator[Way]:
    """The restorations of a model that a study asks for, method by method.

    Args:
        pair: the base and the tuned model.
        methods: names of a study file.
        shares: percents.
        seed: of the choices that chance makes.
        dtype: the type that they are evaluated in, and measured; None for the stored one.
    """
    shares = tuple(shares)
    reference = measure_restorations(pair, Request(_REFERENCE, shares, dtype=dtype))
    targets = [one.output.norm_removed for one in reference]
    for name in methods:
        named, is_matched = named_method(name, seed)
        request = named._replace(dtype=dtype)
        if is_matched:
            found = [one.restoration for one in match_removed_norm(pair, request, targets)]
        elif named == Request(_REFERENCE, seed=seed):
            found = reference
        elif request.method == _WITHOUT_SHARE:
            [once] = measure_restorations(pair, request)
            yield Way(name, None, once)
            continue
        else:
            found = measure_restorations(pair, request._replace(shares=shares))
        for share, one, target in zip(shares, found, targets, strict=True):
            to_match = one.output.norm_to_match
            yield Way(name, share, one, target if is_matched else to_match)
