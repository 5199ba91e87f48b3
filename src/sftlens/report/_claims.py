"""The paper's claims beside what this study measured, each with the rule that judges it."""

from __future__ import annotations

from dataclasses import dataclass

from sftlens.report._answers import Answers
from sftlens.report._effects import Effect, Effects
from sftlens.report._findings import DOMAIN_NAMES, NULL_MARGIN
from sftlens.report._shift import Concentration, Divergence
from sftlens.report._wording import (
    NOT_MEASURED,
    Sign,
    correlation_text,
    number,
    percent,
    points,
    share_text,
    sign,
    value_interval,
)

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim: the paper's words and numbers, what was measured here, and the verdict."""

    name: str
    claim: str
    paper: str
    here: str
    verdict: str
    rule: str


def judge_claims(
    answers: Answers, effects: Effects, divergence: Divergence, concentration: Concentration
) -> list[Claim]:
    """Every claim with its verdict, in the paper's order."""
    return [
        _size(answers, effects),
        _level(answers, effects),
        _middle(answers, effects),
        _rise(divergence),
        _correlation(divergence),
        _concentration(concentration),
        _restoration(answers, effects),
        _collapse(answers, effects),
        *_ranking(answers, effects),
    ]


def _verdict(found: Sign, expected: Sign) -> str:
    if found is Sign.UNKNOWN:
        return NOT_MEASURED
    if found is Sign.UNCLEAR:
        return UNDECIDED
    return HOLDS if found is expected else FAILS


def _by_domain(answers: Answers, effect: Effect) -> str:
    first = points(effect.get(answers.primary))
    rest = [d for d in answers.domains if d != answers.primary]
    return first + "".join(f"; {DOMAIN_NAMES[d]} {points(effect[d])}" for d in rest)


def _size(answers: Answers, effects: Effects) -> Claim:
    common = effects.common_size
    if common is None:
        here, verdict = NOT_MEASURED, NOT_MEASURED
    else:
        here = f"largest against {number(common.best)}: {_by_domain(answers, common.effect)}"
        verdict = _verdict(sign(common.effect[answers.primary]), Sign.NEGATIVE)
    return Claim(
        name="size",
        claim="Beyond a moderate size, more training data costs knowledge",
        paper="best at 240; 1,920 worse by up to 13.69 points",
        here=here,
        verdict=verdict,
        rule="largest minus best smaller size, all levels pooled: interval below zero",
    )


def _level(answers: Answers, effects: Effects) -> Claim:
    found = effects.best_over_zero
    here, verdict = NOT_MEASURED, NOT_MEASURED
    if found is not None:
        here = f"level {found.level} over level 0: {_by_domain(answers, found.effect)}"
        verdict = _verdict(sign(found.effect[answers.primary]), Sign.POSITIVE)
    return Claim(
        name="level",
        claim="Training on facts the model does not know costs most",
        paper="level 2 over level 0 at 1,920: 12.06 points",
        here=here,
        verdict=verdict,
        rule="best other level minus level 0 at the largest size: interval above zero",
    )


def _middle(answers: Answers, effects: Effects) -> Claim:
    found = effects.middle_over_top
    return Claim(
        name="middle",
        claim="Half-known facts train better than well-known ones",
        paper="level 2 over level 4 at 1,920: 3.60 points",
        here=_by_domain(answers, found.effect) if found else NOT_MEASURED,
        verdict=_verdict(sign(found.effect[answers.primary] if found else None), Sign.POSITIVE),
        rule="level 2 minus level 4 at the largest size: interval above zero",
    )


def _rise(divergence: Divergence) -> Claim:
    here, verdict = NOT_MEASURED, NOT_MEASURED
    if divergence.rise is not None:
        here = (
            f"largest against {number(divergence.lowest_size)}: "
            f"{value_interval(divergence.rise)} nats"
        )
        verdict = _verdict(sign(divergence.rise), Sign.POSITIVE)
    return Claim(
        name="rise",
        claim="Token probabilities shift more beyond a moderate size",
        paper="KL falls to 240 samples, rises beyond",
        here=here,
        verdict=verdict,
        rule="KL at the largest minus the lowest of smaller sizes, pooled: interval above zero",
    )


def _correlation(divergence: Divergence) -> Claim:
    return Claim(
        name="correlation",
        claim="More shift goes with lower accuracy on well-known facts",
        paper="seen on level 4",
        here=correlation_text(divergence.correlation),
        verdict=_verdict(sign(divergence.correlation), Sign.NEGATIVE),
        rule="Spearman over runs: interval below zero",
    )


def _concentration(concentration: Concentration) -> Claim:
    top, over = concentration.reference_top, concentration.over_null
    here, verdict = NOT_MEASURED, NOT_MEASURED
    if top is not None:
        held = concentration.held["relative", top]
        here = f"top {share_text(top)} hold {percent(held.mean)}"
        null = concentration.held.get(("null", top))
        here += f"; null {percent(null.mean if null else None)}"
        if over is None:
            verdict = UNDECIDED
        elif held.mean < 0.5 or over.mean <= -NULL_MARGIN:
            verdict = FAILS
        else:
            verdict = HOLDS if over.mean >= NULL_MARGIN else UNDECIDED
    return Claim(
        name="concentration",
        claim="A few parameters hold most of the change",
        paper="top 5 % hold 82.4 %; no null given",
        here=here,
        verdict=verdict,
        rule=(
            f"top holds over half, and at least {number(100 * NULL_MARGIN)} points more than its "
            "null; the same as its null is undecided"
        ),
    )


def _restoration(answers: Answers, effects: Effects) -> Claim:
    gain = effects.pooled_gain
    return Claim(
        name="restoration",
        claim="Restoring the most changed parameters gives knowledge back",
        paper="up to 10.48 points (level 0, 1,920 samples, 40 %)",
        here=_by_domain(answers, gain) if effects.restorations else NOT_MEASURED,
        verdict=_verdict(sign(gain.get(answers.primary)), Sign.POSITIVE),
        rule="restored minus tuned at the chosen shares, all levels pooled: interval above zero",
    )


def _collapse(answers: Answers, effects: Effects) -> Claim:
    strongest = effects.pooled_strongest
    shares = {r.strongest.cell.share for r in effects.restorations.values()}
    at = share_text(max(share or 0.0 for share in shares)) if shares else ""
    return Claim(
        name="collapse",
        claim="Restoring too much destroys the tuned model",
        paper="about 1 % accuracy at a share of 60 %",
        here=f"at {at}: {_by_domain(answers, strongest)}" if shares else NOT_MEASURED,
        verdict=_verdict(sign(strongest.get(answers.primary)), Sign.NEGATIVE),
        rule="restored minus tuned at the largest share, pooled: interval below zero",
    )


def _ranking(answers: Answers, effects: Effects) -> list[Claim]:
    names = {"random": "as many parameters at random", "interpolation": "plain interpolation"}
    claims = []
    for control, text in names.items():
        effect = effects.pooled_controls.get(control, {})
        measured = any(estimate is not None for estimate in effect.values())
        claims.append(
            Claim(
                name=f"over-{control}",
                claim=f"It is the ranking that helps: better than {text}",
                paper="implied; no control given",
                here=_by_domain(answers, effect) if measured else NOT_MEASURED,
                verdict=_verdict(sign(effect.get(answers.primary)), Sign.POSITIVE),
                rule="relative minus control at the same "
                + ("removed norm" if control == "interpolation" else "share")
                + ", pooled: interval above zero",
            )
        )
    return claims
