"""The advice: what to train on, what to drop, what to expect, and what each rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import polars as pl

from sftlens.advice import _paper
from sftlens.advice._candidates import PAPERS_SIZE, Candidate, levels_text
from sftlens.advice._decide import Choice, Larger, Rival
from sftlens.mastery import NUM_LEVELS
from sftlens.rounding import between_points, fixed, percent, points
from sftlens.scoring import Estimate

Basis = Literal["pilot", "paper"]

_PAPERS = f"the paper's, of {_paper.MODEL}, not of this model"


_MANY_UNCERTAIN = 0.25  # share of the advised levels' facts


class Statement(NamedTuple):
    """One piece of advice.

    Attributes:
        advice: what to do or expect.
        evidence: what it rests on, with its interval.
    """

    advice: str
    evidence: str


class Graded(NamedTuple):
    """The training facts of one level.

    Attributes:
        level: 0 to 4.
        num_facts: training facts.
        uncertain: share of them whose R has an interval that reaches into another level; None
            where there are none, or it was not measured.
        paper_240: the paper's in-domain accuracy after 240 facts of this level.
        paper_1920: the same after 1,920.
    """

    level: int
    num_facts: int
    uncertain: float | None
    paper_240: float
    paper_1920: float


def graded_levels(mastery: pl.DataFrame, training: Sequence[str]) -> list[Graded]:
    """The levels of the training facts.

    Args:
        mastery: the table of a probe.
        training: their ids.
    """
    own = mastery.filter(pl.col("fact_id").is_in(list(training)))
    found = []
    for level in range(NUM_LEVELS):
        part = own.filter(level=level)
        share = part["uncertain"].mean() if len(part) and "uncertain" in part.columns else None
        papers = _paper.AT_240[level], _paper.AT_1920[level]
        found.append(Graded(level, len(part), None if share is None else float(share), *papers))  # type: ignore[arg-type]
    return found


def unpiloted(available: Sequence[int]) -> Candidate | None:
    """What the paper's figures say to train on, of facts by level.

    240 of level 2; where it has fewer, of levels 2 and 3, then 1 to 3, then 1 to 4, the next best
    in the paper's figures; all of these where they have fewer than 240 together. None where there
    are facts of level 0 alone.
    """
    sets = ((2,), (2, 3), (1, 2, 3), (1, 2, 3, 4))
    for wanted in sets:
        levels = tuple(level for level in wanted if available[level])
        total = sum(available[level] for level in levels)
        if levels and (total >= PAPERS_SIZE or wanted == sets[-1]):
            return Candidate(levels, min(total, PAPERS_SIZE))
    return None


def papers_statements(chosen: Candidate | None, graded: Sequence[Graded]) -> list[Statement]:
    """Without a pilot."""
    num_facts = sum(one.num_facts for one in graded)
    rank = ", ".join(f"{percent(one.paper_240)} (level {one.level})" for one in graded)
    if chosen is None:
        return [
            Statement(
                "Do not fine-tune on these facts: the base gave none of their answers.",
                f"All {num_facts} have level 0. In {_PAPERS}, 240 facts of level 0 gave "
                f"{percent(_paper.AT_240[0])} and 1,920 of them {percent(_paper.AT_1920[0])}.",
            )
        ]
    told = [
        Statement(
            f"Train on {chosen}.",
            f"In-domain accuracy after 240 facts: {rank}; {_PAPERS}. Nothing was measured here "
            "but the levels: --pilot measures this model.",
        ),
        Statement(
            f"Do not train on more than {PAPERS_SIZE} facts.",
            f"240 was best at every level; 1,920 of level 0 gave {fixed(100 * _paper.FALL)} points "
            f"less, and at 1,920 the level made {fixed(100 * _paper.SPREAD)} points of difference; "
            f"{_PAPERS}.",
        ),
    ]
    if chosen.size < PAPERS_SIZE:
        told.append(
            Statement(
                f"Look for more facts that the base half knows: there are {chosen.size}.",
                f"Fewer than the {PAPERS_SIZE} that the paper found best; what that costs here "
                "was not measured.",
            )
        )
    return told


def pilot_statements(
    choice: Choice,
    larger: Sequence[Larger],
    rows: Mapping[str, Mapping[str, Any]],
    *,
    num_facts: int,
    recipe: Candidate | None,
) -> list[Statement]:
    """With one.

    Args:
        choice: what it says.
        larger: what more facts bring.
        rows: of the candidates' table, by candidate.
        num_facts: validation facts that it was measured on.
        recipe: the paper's.
    """
    row = rows[str(choice.chosen)]
    measured = f"on {num_facts} validation facts, {seeds_text(row['num_seeds'])}"
    if not choice.is_worth_it:
        return [
            Statement(
                "Leave the base as it is: fine-tuning on these facts is not surely better.",
                f"The best of {len(rows) - 1} candidates, {choice.chosen}, changes accuracy by "
                f"{interval_points(choice.over_base)} against the base asked in the same way, "
                f"{measured}.",
            ),
            *_larger_statements(larger),
        ]
    told = [
        Statement(
            f"Train on {choice.chosen}.",
            f"{interval_points(choice.over_base)} over the base as it is, {measured}; "
            + _beside_best(choice),
        )
    ]
    if choice.over_recipe is not None and recipe is not None:
        told.append(
            Statement(
                f"{_verdict(choice.over_recipe)} the paper's fixed recipe, {recipe}, with "
                f"{choice.chosen.size - recipe.size:+d} facts.",
                f"{interval_points(choice.over_recipe)}, same facts asked; "
                f"{seeds_text(rows[str(recipe)]['num_seeds'])} of the recipe.",
            )
        )
    return [*told, *_larger_statements(larger)]


def _beside_best(choice: Choice) -> str:
    if choice.over_best is None:
        return "no candidate has a higher mean."
    return (
        f"the highest mean has {choice.best}, from which it differs by "
        f"{interval_points(choice.over_best)} with {choice.best.size - choice.chosen.size} facts "
        "fewer."
    )


def _larger_statements(larger: Sequence[Larger]) -> list[Statement]:
    told = []
    for one in larger:
        whose = levels_text(one.larger.levels)
        sizes = f"{one.larger.size} facts of {whose}"
        evidence = (
            f"{interval_points(one.gain)} against {one.smaller.size} of them, "
            f"{seeds_text(one.num_runs)}."
        )
        if one.num_runs > 1 and one.gain.high < 0:
            told.append(Statement(f"{sizes} surely cost knowledge.", evidence))
        elif one.num_runs > 1 and one.gain.low > 0:
            told.append(Statement(f"{sizes} surely bring more than fewer of them.", evidence))
        else:
            told.append(
                Statement(f"Whether {sizes} are better than fewer cannot be told.", evidence)
            )
    return told


class Dropped(NamedTuple):
    """Training facts to leave out.

    Attributes:
        level: theirs.
        num_facts: how many.
        advice: in words.
        evidence: what it rests on.
    """

    level: int
    num_facts: int
    advice: str
    evidence: str


def dropped(
    chosen: Candidate | None,
    graded: Sequence[Graded],
    rivals: Mapping[int, Rival],
    *,
    basis: Basis,
) -> list[Dropped]:
    """The levels that are left out, and why."""
    taken = () if chosen is None else chosen.levels
    found = []
    for one in graded:
        if not one.num_facts or one.level in taken:
            continue
        rival = rivals.get(one.level)
        if rival is not None:
            worse = rival.behind.low > 0
            sure = "surely worse" if rival.num_runs > 1 else "worse in the one run it had"
            advice = f"Drop: {sure}." if worse else "Not needed."
            evidence = (
                f"The choice exceeds {rival.candidate} by {interval_points(rival.behind)}; "
                f"{seeds_text(rival.num_runs)} of the latter."
            )
        else:
            advice = "Drop: the base never gave the answer." if one.level == 0 else "Not needed."
            untried = "Not tried alone within this budget. " if basis == "pilot" else ""
            evidence = (
                f"{untried}{percent(one.paper_240)} after 240 and {percent(one.paper_1920)} after "
                f"1,920 facts of this level, against {percent(max(_paper.AT_240))} at best; "
                f"{_PAPERS}."
            )
        found.append(Dropped(one.level, one.num_facts, advice, evidence))
    return found


def rough_levels(chosen: Candidate | None, graded: Sequence[Graded]) -> list[Statement]:
    """What to know where many of the advised facts have an uncertain level."""
    own = [one for one in graded if chosen and one.level in chosen.levels and one.uncertain]
    uncertain = sum(one.num_facts * (one.uncertain or 0.0) for one in own)
    total = sum(one.num_facts for one in graded if chosen and one.level in chosen.levels)
    if not total or uncertain / total < _MANY_UNCERTAIN:
        return []
    return [
        Statement(
            "Take the levels as rough; probe with more templates or samples to sort facts better.",
            f"{percent(uncertain / total)} of the facts of these levels have a 95 % interval of R "
            "that reaches into another level.",
        )
    ]


def seeds_text(number: int) -> str:
    """How many training runs a mean is over, and what that means for its interval."""
    if number == 1:
        return "one training run, so that the interval holds no spread between runs"
    return f"{number} training runs"


def _verdict(found: Estimate) -> str:
    if found.low > 0:
        return "Surely better than"
    return "Surely worse than" if found.high < 0 else "Not told apart from"


def interval_points(found: Estimate) -> str:
    """A difference in percentage points with its interval."""
    return f"{points(found.value)} points ({between_points(found.low, found.high)})"
