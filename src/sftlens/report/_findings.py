"""The short answers: what this study's numbers say, in words that follow their signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sftlens.report._answers import RELATIVE, Answers, Cell
from sftlens.report._effects import Effect, Effects, Restoration
from sftlens.report._shift import BASES, WITHOUT, Concentration, Divergence
from sftlens.report._wording import (
    NOT_MEASURED,
    Sign,
    correlation_text,
    levels_text,
    listed,
    number,
    percent,
    percent_interval,
    points,
    share_text,
    sign,
    signed,
    value_interval,
    verb,
)

DOMAIN_NAMES = {"in": "in-domain", "out": "out-of-domain"}
TONES = {
    Sign.POSITIVE: "good",
    Sign.NEGATIVE: "bad",
    Sign.UNCLEAR: "unclear",
    Sign.UNKNOWN: "unclear",
}
_TOLD_CONTROLS = ("random", "interpolation")
_MOST_TOLD = 3  # controls, beyond which the others are counted
NULL_MARGIN = 0.05  # a concentration closer to its null than this says nothing


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of a finding's evidence."""

    label: str
    value: str
    tone: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A question, its answer in a word or two, and the sentences that carry the numbers."""

    name: str
    question: str
    answer: str
    tone: str
    sentences: Sequence[str]
    items: Sequence[Item] = ()
    evidence: str  # the section's anchor
    claims: Sequence[str] = ()  # of the paper, that answer the same question


def method_name(method: str) -> str:
    """A restoration method as a reader meets it."""
    plain = method.removesuffix("-matched")
    name = {
        RELATIVE: "largest relative change",
        "relative-bottom": "smallest relative change",
        "absolute": "largest absolute change",
        "random": "random choice",
        "small-base": "smallest base weights",
        "interpolation": "plain interpolation",
    }.get(plain, plain)
    return name if plain == method else f"{name}, same removed norm"


def find_all(
    answers: Answers, effects: Effects, divergence: Divergence, concentration: Concentration
) -> list[Finding]:
    """The answers of the first screen, in reading order."""
    found = [
        _size(answers, effects),
        _level(answers, effects),
        _divergence(divergence),
        _concentration(concentration),
        _restoration(answers, effects),
        _controls(answers, effects),
    ]
    domain = answers.primary
    claims = {
        "size": (f"size-{domain}",),
        "level": ("level-matters", f"low-mastery-worst-{domain}"),
        "divergence": ("kl-accuracy",),
        "concentration": ("concentration-over-null",),
        "restoration": (f"restoration-{domain}",),
        "controls": (f"over-random-{domain}", f"over-interpolation-{domain}"),
    }
    return [replace(one, claims=claims[one.name]) for one in found]


def facts_text(answers: Answers, cell: Cell) -> str:
    """The true number of training facts of a cell."""
    size = answers.true_size[cell.level, cell.size]
    return f"{number(size)} fact{'' if size == 1 else 's'}"


def other_domain(effect: Effect, primary: str) -> str:
    """`` Out-of-domain: …`` for the second domain, or nothing."""
    return "".join(
        f" {DOMAIN_NAMES[domain].capitalize()}: {points(estimate)}."
        for domain, estimate in effect.items()
        if domain != primary
    )


def groups(verbs: dict[int, str], order: Sequence[str]) -> str:
    """``hurts at levels 0 and 1, and cannot be told apart at level 4``."""
    if len(verbs) > 1 and len(set(verbs.values())) == 1:
        return f"{next(iter(verbs.values()))} at every level"
    parts = [
        f"{word} at {levels_text([level for level, other in verbs.items() if other == word])}"
        for word in order
        if word in verbs.values()
    ]
    return listed(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def overall(verbs: Sequence[str]) -> tuple[str, str]:
    """One word for several, and its tone."""
    words = set(verbs)
    if len(words) == 1:
        word = verbs[0]
        return word, {"helps": "good", "hurts": "bad"}.get(word, "unclear")
    sure = words & {"helps", "hurts"}
    if len(sure) == 1:
        (word,) = sure
        return (
            f"{word} at {verbs.count(word)} of {len(verbs)} levels",
            "good" if word == "helps" else "bad",
        )
    return "helps and hurts", "unclear"


def _size(answers: Answers, effects: Effects) -> Finding:
    question = "Does more training data help?"
    if not effects.by_size:
        return _unmeasured("size", question, "every training level was run at one size only")
    verbs, items = {}, []
    for level, found in effects.by_size.items():
        effect = found.effect[answers.primary]
        verbs[level] = verb(effect)
        text = (
            f"{facts_text(answers, found.largest)} against "
            f"{number(answers.true_size[found.best.level, found.best.size])}: {points(effect)}"
        )
        items.append(Item(label=f"Level {level}", value=text, tone=TONES[sign(effect)]))
    answer, tone = overall(list(verbs.values()))
    order = ("hurts", "helps", "cannot be told apart", NOT_MEASURED)
    sentences = [
        f"Against the smaller size that did best on the choice facts, the largest training set "
        f"{groups(verbs, order)}, {DOMAIN_NAMES[answers.primary]}."
    ]
    if common := effects.common_size:
        sentences.append(
            f"Over all levels together, the largest sets against {number(common.best)} facts: "
            f"{points(common.effect[answers.primary])}."
            + other_domain(common.effect, answers.primary)
        )
    return Finding(
        name="size",
        question=question,
        answer=answer,
        tone=tone,
        sentences=sentences,
        items=items,
        evidence="accuracy",
    )


def _level(answers: Answers, effects: Effects) -> Finding:
    question = "Does it matter how well the model knew the training facts?"
    best = effects.best_level
    if best is None:
        return _unmeasured("level", question, "one training level only")
    primary = answers.primary
    signs = {found.other: sign(found.effect[primary]) for found in effects.by_level}
    surely = [level for level, found in signs.items() if found is Sign.POSITIVE]
    alike = [level for level, found in signs.items() if found is Sign.UNCLEAR]
    reverse = [level for level, found in signs.items() if found is Sign.NEGATIVE]
    accuracy = answers.accuracy(answers.largest(best), primary, "report")
    sentences = [
        f"At the largest size, training on facts of level {best} does best on the choice facts; "
        f"on the other facts it reaches {percent_interval(accuracy)}, {DOMAIN_NAMES[primary]}."
    ]
    told = []
    if surely:
        told.append(f"is surely better than training on {levels_text(surely)}")
    if alike:
        told.append(f"cannot be told apart from {levels_text(alike)}")
    if reverse:
        told.append(f"is surely worse than {levels_text(reverse)} on facts it was not chosen on")
    if told:
        sentences.append(f"It {listed(told)}.")
    return Finding(
        name="level",
        question=question,
        answer="yes" if surely or reverse else "cannot be told apart",
        tone="good" if surely or reverse else "unclear",
        sentences=sentences,
        items=[
            Item(
                label=f"Level {best} over {found.other}",
                value=points(found.effect[primary]),
                tone=TONES[sign(found.effect[primary])],
            )
            for found in effects.by_level
        ],
        evidence="accuracy",
    )


def _divergence(divergence: Divergence) -> Finding:
    question = "Do models that shift their next-token probabilities more know less?"
    found = divergence.correlation
    if found is None:
        return _unmeasured(
            "divergence", question, "fewer than five runs have a KL divergence that varies"
        )
    word = {
        Sign.NEGATIVE: ("yes", "More shift goes with lower accuracy"),
        Sign.POSITIVE: ("no, the reverse", "More shift goes with higher accuracy"),
    }.get(sign(found), ("cannot be told apart", "No sure relation of shift and accuracy"))
    sentences = [
        f"{word[1]} on facts of level 4 over {found.num_points} runs: {correlation_text(found)}. "
        "This is a correlation: it does not show that the shift is the cause."
    ]
    if divergence.rise is not None:
        moves = {Sign.POSITIVE: "rises", Sign.NEGATIVE: "falls"}
        sentences.append(
            f"From {number(divergence.lowest_size)} facts (the lowest KL among the smaller sizes) "
            f"to the largest size, KL {moves.get(sign(divergence.rise), 'does not surely change')}"
            f": by {value_interval(divergence.rise)} nats, on facts not used to find that size."
        )
    return Finding(
        name="divergence",
        question=question,
        answer=word[0],
        tone="bad" if sign(found) is Sign.NEGATIVE else "unclear",
        sentences=sentences,
        evidence="divergence",
    )


def _concentration(concentration: Concentration) -> Finding:
    question = "Did a few parameters do most of the moving?"
    top = concentration.reference_top
    if top is None:
        return _unmeasured("concentration", question, "no concentration was measured")
    relative = concentration.held["relative", top]
    opening = (
        f"Ranked by relative change, the top {share_text(top)} of the parameters hold "
        f"{percent(relative.mean)} of the total (runs: {percent(relative.lowest)} to "
        f"{percent(relative.highest)})"
    )
    over = concentration.over_null
    null = concentration.held.get(("null", top))
    absolute = concentration.held.get(("absolute", top))
    last = []
    if (zero := concentration.bases.get((BASES["num_zero_base"], top))) and zero.mean:
        last.append(
            f"{percent(zero.mean)} of the changed parameters in this top are 0 in the base, where "
            "a relative change is the change divided by 1e-8."
        )
    without = [concentration.held.get((name, top)) for name in WITHOUT]
    if without[0] and without[1] and concentration.bases:
        last.append(
            f"Without the parameters whose base is below 1e-4 the top {share_text(top)} hold "
            f"{percent(without[0].mean)}, and {percent(without[1].mean)} shuffled."
        )
    if absolute:
        last.append(
            f"Ranked by absolute change, the top {share_text(top)} hold {percent(absolute.mean)}."
        )
    if over is None or null is None:
        answer, tone = "no null, no answer", "unclear"
        sentences = [f"{opening}. Without its null this number says nothing."]
    elif abs(over.mean) < NULL_MARGIN:
        answer, tone = "the table cannot tell", "unclear"
        sentences = [
            f"{opening}; its null, the same changes shuffled over the parameters, holds "
            f"{percent(null.mean)}. A skew that the null shows too says nothing about where "
            "fine-tuning acts: it comes from dividing by base weights near zero."
        ]
    else:
        more = over.mean > 0
        answer, tone = ("yes" if more else "no", "unclear")
        sentences = [
            f"{opening}; its null, the same changes shuffled over the parameters, holds "
            f"{percent(null.mean)}: the change is {'more' if more else 'less'} concentrated than "
            f"chance by {signed(100 * over.mean)} points (runs: {signed(100 * over.lowest)} to "
            f"{signed(100 * over.highest)})."
        ]
    return Finding(
        name="concentration",
        question=question,
        answer=answer,
        tone=tone,
        sentences=sentences + last,
        evidence="concentration",
    )


def _restoration(answers: Answers, effects: Effects) -> Finding:
    question = "Does giving base values back help?"
    if not effects.restorations:
        return _unmeasured("restoration", question, "no restored model was scored")
    primary = answers.primary
    verbs = {level: verb(r.chosen.effect[primary]) for level, r in effects.restorations.items()}
    answer, tone = overall(list(verbs.values()))
    order = ("helps", "hurts", "cannot be told apart", NOT_MEASURED)
    return Finding(
        name="restoration",
        question=question,
        answer=answer,
        tone=tone,
        sentences=[
            f"At the share that did best on the choice facts, restoring the parameters of largest "
            f"relative change {groups(verbs, order)}, {DOMAIN_NAMES[primary]}.",
            f"All levels together: {points(effects.pooled_gain[primary])}."
            + other_domain(effects.pooled_gain, primary),
        ],
        items=[
            Item(
                label=f"Level {level}, {share_text(found.chosen.cell.share or 0.0)}",
                value=points(found.chosen.effect[primary]),
                tone=TONES[sign(found.chosen.effect[primary])],
            )
            for level, found in effects.restorations.items()
        ],
        evidence="restoration",
    )


def _controls(answers: Answers, effects: Effects) -> Finding:
    question = "Is it the choice of parameters that helps?"
    primary = answers.primary
    measured = {name: e for name, e in effects.pooled_controls.items() if e.get(primary)}
    if not effects.restorations or not measured:
        return _unmeasured("controls", question, "no control was scored beside the restoration")
    sentences, signs = [], []
    others = []
    for name, effect in measured.items():
        best = effects.pooled_over_best.get(name, {})
        signs += [sign(effect[primary]), sign(best.get(primary))]
        how = {
            Sign.POSITIVE: "beats",
            Sign.NEGATIVE: "is worse than",
            Sign.UNCLEAR: "cannot be told apart from",
        }[signs[-2]]
        own = {
            Sign.POSITIVE: "still beats it",
            Sign.NEGATIVE: "is worse",
            Sign.UNCLEAR: "cannot be told apart from it",
            Sign.UNKNOWN: "was not measured against it",
        }[signs[-1]]
        if name not in _TOLD_CONTROLS and len(measured) > _MOST_TOLD:
            others.append(signs[-2])
            continue
        same = "removed norm" if name == "interpolation" else "share"
        sentences.append(
            f"At the same {same}, the ranking {how} {method_name(name)}: "
            f"{points(effect[primary])}; with {method_name(name)} at its own best strength it "
            f"{own}: {points(best.get(primary))}."
        )
    if others:
        sentences.append(
            f"Of {len(others)} other methods at the same share, the ranking beats "
            f"{others.count(Sign.POSITIVE)}, is worse than {others.count(Sign.NEGATIVE)}, and "
            f"cannot be told apart from {others.count(Sign.UNCLEAR)}."
        )
    if set(signs) == {Sign.POSITIVE}:
        answer, tone = "yes", "good"
    elif Sign.NEGATIVE in signs:
        answer, tone = "no: a control does better", "bad"
    elif Sign.POSITIVE in signs:
        answer, tone = "not shown against every control", "unclear"
    else:
        answer, tone = "not shown: the controls do as well", "unclear"
    return Finding(
        name="controls",
        question=question,
        answer=answer,
        tone=tone,
        sentences=sentences,
        evidence="restoration",
    )


def surely_better(found: Restoration, primary: str) -> bool:
    """Whether a restoration's interval lies above zero."""
    return sign(found.chosen.effect[primary]) is Sign.POSITIVE


def _unmeasured(name: str, question: str, why: str) -> Finding:
    return Finding(
        name=name,
        question=question,
        answer=NOT_MEASURED,
        tone="unclear",
        sentences=[f"This study did not measure it: {why}."],
        evidence={"size": "accuracy", "level": "accuracy", "controls": "restoration"}.get(
            name, name
        ),
    )
