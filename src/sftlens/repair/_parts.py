"""Which questions the search sees, which decide, and which are kept for the report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

from sftlens.errors import UserError
from sftlens.facts import Fact

Part = Literal["search", "decision", "test"]

_FEWEST = 8

T = TypeVar("T")


class Parts(NamedTuple, Generic[T]):
    """Questions in three parts, each in an order whose beginnings are like the whole.

    Attributes:
        search: one half of the validation questions, which candidates are compared on.
        decision: the other half, which the search does not see; it decides whether what the
            search found is better than the tuned model.
        test: what is reported on.
    """

    search: list[T]
    decision: list[T]
    test: list[T]

    def of(self, part: Part) -> list[T]:
        """One of the three."""
        found: list[T] = getattr(self, part)
        return found

    @property
    def num_validation(self) -> int:
        return len(self.search) + len(self.decision)


class Divided(NamedTuple, Generic[T]):
    """Questions in their parts, and what has to be reported about them."""

    parts: Parts[T]
    notes: list[str]


def divide_facts(
    facts: Sequence[Fact], levels: Mapping[str, int] | None, *, seed: int, source: str
) -> Divided[Fact]:
    """Facts of the splits validation and test, divided into :class:`Parts`.

    Where one of the two splits is absent, a seeded half of the other stands in for it. Facts to
    train on are left out, and where levels were measured, facts without one.

    Raises:
        UserError: when there are too few facts.
    """
    notes = []
    measured = [fact for fact in facts if fact.split != "train"]
    if levels is not None:
        known = [fact for fact in measured if fact.fact_id in levels]
        if len(known) < len(measured):
            notes.append(f"{len(measured) - len(known)} facts have no level and were left out.")
        measured = known
    if len(measured) < _FEWEST:
        raise UserError(
            f"{source}: has {len(measured)} facts of the splits validation and test"
            f"{' with a level' if levels is not None else ''}; give at least {_FEWEST}"
        )

    def stratum(fact: Fact) -> str:
        return f"{fact.domain} {levels[fact.fact_id] if levels is not None else fact.topic}"

    def order(fact: Fact) -> bytes:
        return _order(seed, fact.fact_id)

    validation = [fact for fact in measured if fact.split == "validation"]
    test = [fact for fact in measured if fact.split == "test"]
    if not validation or not test:
        lacking = "validation" if not validation else "test"
        notes.append(
            f"The facts have no split {lacking}: a seeded half of the others took its place."
        )
        validation, test = _halves(measured, stratum, order)
    search, decision = _halves(validation, stratum, order)
    divided = [_mixed(part, stratum, order) for part in (search, decision, test)]
    if not all(divided):
        raise UserError(f"{source}: has too few validation facts; give at least {_FEWEST}")
    return Divided(Parts(*divided), notes)


def divide_items(
    items: Sequence[T], name: Callable[[T], str], split: Callable[[T], str | None], *, seed: int
) -> Divided[T]:
    """A task's items in their parts, as :func:`divide_facts` divides facts.

    An item that names no split is one of ``test``. Items of ``train``, which tuning may have seen,
    are left out; a search on them would choose what keeps them best.
    """

    def order(item: T) -> bytes:
        return _order(seed, name(item))

    def alike(_: T) -> str:
        return ""

    notes = []
    measured = [item for item in items if split(item) != "train"]
    if left_out := len(items) - len(measured):
        notes.append(f"{left_out} items of the task are of split train and were left out.")
    validation = [item for item in measured if split(item) == "validation"]
    test = [item for item in measured if split(item) != "validation"]
    if not validation or not test:
        if any(split(item) is not None for item in measured):
            lacking = "validation" if not validation else "test"
            notes.append(
                f"The task has no split {lacking}: a seeded half of the others took its place."
            )
        validation, test = _halves(measured, alike, order)
    search, decision = _halves(validation, alike, order)
    parts = Parts(*(sorted(part, key=order) for part in (search, decision, test)))
    return Divided(parts, notes)


def _halves(
    items: Sequence[T], stratum: Callable[[T], str], order: Callable[[T], bytes]
) -> tuple[list[T], list[T]]:
    """Two halves of every stratum; odd ones go now to one, now to the other."""
    halves: tuple[list[T], list[T]] = ([], [])
    turn = 0
    for group in _grouped(items, stratum, order):
        for item in group:
            halves[turn].append(item)
            turn = 1 - turn
    return halves


def _mixed(items: Sequence[T], stratum: Callable[[T], str], order: Callable[[T], bytes]) -> list[T]:
    """The items in an order in which every stratum is spread evenly."""
    placed = []
    for number, group in enumerate(_grouped(items, stratum, order)):
        placed += [((n + 0.5) / len(group), number, item) for n, item in enumerate(group)]
    return [item for *_, item in sorted(placed, key=lambda one: one[:2])]


def _grouped(
    items: Sequence[T], stratum: Callable[[T], str], order: Callable[[T], bytes]
) -> list[list[T]]:
    groups: dict[str, list[T]] = {}
    for item in sorted(items, key=order):
        groups.setdefault(stratum(item), []).append(item)
    return [groups[name] for name in sorted(groups)]


def _order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
