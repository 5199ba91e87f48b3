"""Which facts could be trained on, and which the pilot is measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sftlens.errors import UserError
from sftlens.facts import Fact

_FEWEST = 8  # validation facts
_HELD_OUT = 5  # one of so many facts of a topic, where no split is for validation


class Pools(NamedTuple):
    """Facts by what they are for.

    Attributes:
        training: candidates: in-domain facts of the train split.
        validation: of both domains; the pilot is measured on them and nothing is trained on them.
        notes: what was done to the splits.
    """

    training: list[Fact]
    validation: list[Fact]
    notes: list[str]

    @property
    def facts(self) -> list[Fact]:
        return [*self.training, *self.validation]

    def graded(self, levels: Mapping[str, int]) -> Pools:
        """The same without facts that have no level."""
        training, validation = (
            [fact for fact in part if fact.fact_id in levels]
            for part in (self.training, self.validation)
        )
        lacking = len(self.facts) - len(training) - len(validation)
        notes = [f"{lacking} facts have no level and were left out."] if lacking else []
        return Pools(training, validation, [*self.notes, *notes])


def pools(facts: Sequence[Fact], *, seed: int, source: str, pilot: bool) -> Pools:
    """Divide facts; those of the test split stay out, whatever happens.

    Facts that are all of the test split, as those of a file without splits are, count as facts to
    train on. A pilot without in-domain validation facts holds a seeded fifth of every topic back.

    Raises:
        UserError: when there is nothing to train on.
    """
    notes = []
    if all(fact.split == "test" for fact in facts):
        notes.append("The facts name no splits: the in-domain ones were taken as training facts.")
        facts = [replace(f, split="train" if f.domain == "in" else "validation") for f in facts]
    training = [fact for fact in facts if fact.split == "train" and fact.domain == "in"]
    validation = [fact for fact in facts if fact.split == "validation"]
    if not training:
        raise UserError(f"{source}: has no facts to train on; give some of split train, domain in")
    if pilot and not any(fact.domain == "in" for fact in validation):
        held = _held_out(training, seed)
        notes.append(
            f"The facts have no in-domain validation split: {len(held)} of {len(training)} facts "
            "to train on were held back for it, and are not part of the advice."
        )
        training = [fact for fact in training if fact.fact_id not in held]
        validation += [replace(held[name], split="validation") for name in held]
    return Pools(training, validation, notes)


def require_enough(found: Pools, source: str) -> None:
    """Refuse a pilot on a handful of facts.

    Raises:
        UserError: when there is nothing to train on or too little to measure.
    """
    if not found.training:
        raise UserError(f"{source}: no fact to train on has a level; probe these facts first")
    inside = sum(fact.domain == "in" for fact in found.validation)
    if inside < _FEWEST:
        raise UserError(
            f"{source}: has {inside} in-domain validation facts with a level; a pilot needs at "
            f"least {_FEWEST}"
        )


def _held_out(training: Sequence[Fact], seed: int) -> dict[str, Fact]:
    by_topic: dict[str, list[Fact]] = {}
    order = {
        fact.fact_id: hashlib.sha256(f"{seed} {fact.fact_id}".encode()).digest()
        for fact in training
    }
    for fact in sorted(training, key=lambda fact: order[fact.fact_id]):
        by_topic.setdefault(fact.topic, []).append(fact)
    mixed = [fact for topic in sorted(by_topic) for fact in by_topic[topic]]
    return {fact.fact_id: fact for fact in mixed[::_HELD_OUT]}
