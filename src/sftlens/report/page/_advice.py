"""How sure the answers are, what to do with them, and what to be careful about."""

from __future__ import annotations

from collections.abc import Sequence

from sftlens.facts import echoed_ids
from sftlens.report._answers import TUNED, Answers, Cell
from sftlens.report._effects import Effects
from sftlens.report._findings import DOMAIN_NAMES, facts_text, method_name, surely_better
from sftlens.report._shift import Concentration
from sftlens.report._tables import Tables
from sftlens.report._wording import (
    Sign,
    levels_text,
    listed,
    number,
    percent,
    percent_interval,
    points,
    share_text,
    sign,
)
from sftlens.scoring import NUM_LEVELS

_FEW_SEEDS = 5
_FEW_FACTS = 30


def how_sure(answers: Answers) -> list[str]:
    """Where the intervals come from, and the facts that choices were made on."""
    seeds = sorted({len(rows) for rows in answers.rows.values()})
    num_seeds = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    texts = [
        f"Every interval is a 95 % bootstrap interval over {num_seeds} training "
        f"seed{'' if seeds[-1] == 1 else 's'} and over the test facts; a difference is paired: "
        "the same seeds, the same facts. A difference counts as sure only where its interval "
        "leaves out zero."
    ]
    if seeds[0] == 1:
        texts.append(
            "With one seed the interval holds no spread between training runs: read it as too "
            "narrow."
        )
    elif seeds[0] < _FEW_SEEDS:
        texts.append(
            f"With {seeds[0]} seeds, which are few, the spread between training runs is known "
            "poorly: the intervals tend to be too narrow."
        )
    texts.append(choice_text(answers))
    return texts


def choice_text(answers: Answers) -> str:
    """On which facts sizes, levels and shares were chosen, and where they are reported."""
    primary = DOMAIN_NAMES[answers.primary]
    num_choice = number(int(answers.choice.sum()))
    num_report = number(int(answers.report(answers.primary).sum()))
    if answers.choice_kind == "validation":
        return (
            f"What is called best was chosen on {num_choice} {primary} validation facts (the "
            f"choice facts) and is reported on the {num_report} {primary} test facts."
        )
    return (
        f"What is called best was chosen on one half of the {primary} test facts "
        f"({num_choice}, the choice facts) and is reported on the other half ({num_report}), "
        "since a share read off the facts it is reported on looks better than it is."
        + (
            " Out-of-domain facts took no part in any choice; all of them are reported."
            if len(answers.domains) > 1
            else ""
        )
    )


def cell_text(answers: Answers, cell: Cell) -> str:
    """``level 2 with 240 facts``."""
    return f"level {cell.level} with {facts_text(answers, cell)}"


def what_to_do(answers: Answers, effects: Effects) -> list[str]:
    """Which facts to train on and how many, and whether to restore and how much."""
    return [*_training_advice(answers, effects), *_restoration_advice(answers, effects)]


def _training_advice(answers: Answers, effects: Effects) -> list[str]:
    found = effects.recommendation
    if found is None:
        return []
    reached = listed(
        [
            f"{percent_interval(answers.accuracy(found.cell, domain, 'report'))} "
            f"{DOMAIN_NAMES[domain]}"
            for domain in answers.domains
        ]
    )
    num_others = len(found.worse) + len(found.alike) + len(found.better)
    text = (
        f"Training on facts of {cell_text(answers, found.cell)} did best on the choice facts, and "
        f"reaches {reached} on the others."
    )
    if num_others == 0:
        return [text]
    if not found.worse:
        return [text + f" Yet it is surely better than none of the {num_others} other choices."]
    text += f" It is surely better than {len(found.worse)} of the {num_others} other choices"
    rivals = found.alike + found.better
    if not rivals:
        return [f"{text}: train on these."]
    smallest = min(rivals, key=lambda cell: answers.true_size[cell.level, cell.size])
    text += f", and not surely better than {len(rivals)}"
    if answers.true_size[smallest[:2]] < answers.true_size[found.cell[:2]]:
        text += f", of which the cheapest is {cell_text(answers, smallest)}"
    return [f"{text}."]


def _restoration_advice(answers: Answers, effects: Effects) -> list[str]:
    if not effects.restorations:
        return []
    primary = answers.primary
    restore = {k: r for k, r in effects.restorations.items() if surely_better(r, primary)}
    leave = [level for level in effects.restorations if level not in restore]
    texts = []
    if restore:
        by_share: dict[float, list[int]] = {}
        for level, found in restore.items():
            by_share.setdefault(found.chosen.cell.share or 0.0, []).append(level)
        shares = listed(
            [f"{share_text(share)} after {levels_text(at)}" for share, at in by_share.items()]
        )
        texts.append(f"After training at the largest size, restore {shares}.")
    if leave:
        texts.append(
            f"After {levels_text(leave)} at the largest size, leave it as it is: the share that "
            "did best on the choice facts is not surely better than the tuned model."
        )
    simpler = [
        name
        for name, effect in effects.pooled_over_best.items()
        if sign(effect.get(primary)) in (Sign.UNCLEAR, Sign.NEGATIVE)
    ]
    if restore and simpler:
        texts.append(
            f"The gain needs no ranking here: {_methods_text(simpler)} at its own best strength is "
            "not surely worse."
        )
    if effects.restored_over_recommended and effects.recommendation:
        cell, effect = effects.restored_over_recommended
        if cell[:2] != effects.recommendation.cell[:2]:
            word = {
                Sign.POSITIVE: "beats",
                Sign.NEGATIVE: "is worse than",
                Sign.UNCLEAR: "cannot be told apart from",
            }.get(sign(effect[primary]), "was not measured against")
            texts.append(
                f"The best restored model ({cell_text(answers, cell)}, "
                f"{share_text(cell.share or 0.0)} restored) {word} simply training on "
                f"{cell_text(answers, effects.recommendation.cell)}: {points(effect[primary])}."
            )
    return texts


def _echoed(answers: Answers) -> list[str]:
    """How many test facts of each domain, and of level 4, repeating the question answers."""
    echoed = answers.facts["fact_id"].is_in(list(echoed_ids(answers.facts))).to_numpy()
    texts = []
    for domain in answers.domains:
        mask = answers.test(domain)
        if not (num_echoed := int((echoed & mask).sum())):
            continue
        highest = mask & (answers.levels == NUM_LEVELS - 1)
        texts.append(
            f"{DOMAIN_NAMES[domain].capitalize()}, the answers to {number(num_echoed)} of "
            f"{number(int(mask.sum()))} test facts stand in their own question, "
            f"{number(int((echoed & highest).sum()))} of the {number(int(highest.sum()))} of level "
            f"{NUM_LEVELS - 1} among them: repeating a name is right there. The paper’s tables "
            "below hold accuracy with and without them."
        )
    return texts


def _methods_text(names: Sequence[str]) -> str:
    """The first three by name, the others by number."""
    shown = [method_name(name) for name in names[:3]]
    if len(names) > 4:
        return f"{', '.join(shown)} or any of {len(names) - 3} other methods"
    return " or ".join(method_name(name) for name in names)


def be_careful(
    tables: Tables, answers: Answers, effects: Effects, concentration: Concentration
) -> list[str]:
    """What this study's numbers cannot carry."""
    texts = []
    if tables.quick:
        texts.append("This is a quick run, too small to show effects: it shows the page only.")
    for domain in answers.domains:
        mask = answers.test(domain)
        counts = [int((answers.levels[mask] == level).sum()) for level in range(NUM_LEVELS)]
        if few := [level for level, count in enumerate(counts) if 0 < count < _FEW_FACTS]:
            sizes = listed([counts[level] for level in few])
            texts.append(
                f"{DOMAIN_NAMES[domain].capitalize()}, {levels_text(few)} "
                f"{'have' if len(few) > 1 else 'has'} only {sizes} test facts, yet each level "
                "weighs one fifth of the mean."
            )
        if absent := [level for level, count in enumerate(counts) if not count]:
            texts.append(
                f"{DOMAIN_NAMES[domain].capitalize()}, {levels_text(absent)} "
                f"{'have' if len(absent) > 1 else 'has'} no test fact: the mean is over the others."
            )
    texts += _echoed(answers)
    short = [
        cell
        for level in answers.levels_trained
        if answers.true_size[(cell := answers.largest(level))[:2]] < cell.size
    ]
    if short:
        texts.append(
            "The largest size asked for was not reached by "
            + listed([cell_text(answers, cell) for cell in short])
            + ": too few such facts."
        )
    unscored = tables.scores["correct"].null_count()
    if unscored:
        texts.append(
            f"{number(unscored)} answers ({percent(unscored / len(tables.scores))}) were not "
            "scored; a comparison leaves out the facts that any of its models lacks."
        )
    hurt = [
        level
        for level, found in effects.restorations.items()
        if surely_better(found, answers.primary)
        and any(sign(effect) is Sign.NEGATIVE for effect in found.chosen.effect.values())
    ]
    if hurt:
        texts.append(f"After {levels_text(hurt)} the restoration hurts out-of-domain.")
    if concentration.over_null is None:
        texts.append("Concentration has no null here and must not be read alone.")
    restored = sum(cell.method != TUNED for cell in answers.rows)
    if compared := restored * len(answers.domains):
        texts.append(
            f"{number(compared)} differences between restored and tuned models stand on this page, "
            "each with an interval of its own: if none of them were real, about "
            f"{number(compared / 20)} would look sure by chance."
        )
    texts.append(
        f"The levels of these {number(len(tables.mastery))} facts are those of this base model; "
        "in another the same facts have other levels."
    )
    return texts
