"""Restoration beside its controls (paper section 6, parameter finding 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import polars as pl

from sftlens.norms import is_same_norm
from sftlens.report._answers import RELATIVE, TUNED, Row
from sftlens.report.inference._claim import Claim, Compared
from sftlens.report.inference._evidence import Evidence, NotMeasuredError, Term, headlines

INTERPOLATION = "interpolation"
CONTROLS = {
    "random": "as many entries at random",
    "absolute": "the entries of the largest absolute change",
    "small-base": "the entries whose base value is smallest",
    "relative-bottom": "the entries of the smallest relative change",
    INTERPOLATION: "plain interpolation that removes the same norm",
}
MARGIN = 0.02  # of accuracy: a loss below it counts for none
UNNEEDED = 0.9
_COLLAPSE_SHARE = 60.0  # percent
_DESTROYED = 0.5  # of the tuned model's accuracy


class Model(NamedTuple):
    """One tuned model of the largest size, and its restorations."""

    level: int
    seed: int
    run: str
    tuned: Row
    restored: dict[tuple[str, float], Row]  # by method and share


@dataclass(frozen=True, kw_only=True)
class Removed:
    """Of what 90 % or more is to be taken back."""

    what: str
    of: dict[tuple[str, float], float]  # fraction by run and share


def restoration_claims() -> list[Claim]:
    """Gain, controls, what is unneeded, collapse."""
    both = ("in", "out")
    claims = [
        Claim(
            name=f"restoration-{domain}",
            source="parameter finding 2",
            sentence="Restoring the most changed parameters gives knowledge back.",
            paper="up to 10.48 points (level 0, 1,920 samples, 40 %)",
            domain=domain,
            unit="accuracy",
            measure=partial(_gain, domain=domain),
        )
        for domain in both
    ]
    claims += [
        Claim(
            name=f"over-{control.removeprefix('relative-')}-{domain}",
            source="parameter finding 2",
            sentence=f"It does so better than {text}.",
            paper="implied; no control given",
            domain=domain,
            unit="accuracy",
            measure=partial(_over_control, control=control, domain=domain, own_best=False),
        )
        for control, text in CONTROLS.items()
        for domain in both
    ]
    claims += [
        Claim(
            name=f"over-best-{control.removeprefix('relative-')}",
            source="parameter finding 2",
            sentence=f"It does so better than {text.replace('the same', 'any')}, "
            "each at its own best strength.",
            paper="implied; no control given",
            domain="in",
            unit="accuracy",
            measure=partial(_over_control, control=control, domain="in", own_best=True),
        )
        for control, text in CONTROLS.items()
    ]
    claims += [
        Claim(
            name=f"unneeded-{measure}",
            source="parameter finding 2",
            sentence=f"Up to 90 % of the updates, {text}, are not needed: taking back that many "
            f"costs no more than {100 * MARGIN:g} points.",
            paper="up to 90 %",
            domain="in",
            unit="accuracy",
            threshold=-MARGIN,
            measure=partial(_unneeded, measure=measure),
        )
        for measure, text in (
            ("count", "counted by parameters"),
            ("norm", "by their squared norm"),
            ("relative", "by their summed relative change"),
        )
    ]
    claims.append(
        Claim(
            name="collapse",
            source="parameter finding 2",
            sentence="Restoring 60 % destroys the tuned model: less than half of its accuracy "
            "is left.",
            paper="about 1 % accuracy at 60 %",
            domain="in",
            unit="accuracy",
            claimed="below",
            measure=_collapse,
        )
    )
    return claims


def models(evidence: Evidence) -> list[Model]:
    """The tuned models of each level's largest size that have restorations by relative change."""
    answers = evidence.answers
    runs = {
        (level, size, seed): name
        for name, level, size, seed in evidence.table("runs")
        .select("run", "level", "size", "seed")
        .iter_rows()
    }
    found = []
    for level in answers.levels_trained:
        largest = answers.largest(level)
        for seed, tuned in sorted(answers.rows[largest].items()):
            restored = {
                (cell.method, cell.share): rows[seed]
                for cell, rows in answers.rows.items()
                if cell[:2] == largest[:2]
                and cell.method != TUNED
                and cell.share is not None
                and seed in rows
            }
            if any(method == RELATIVE for method, _ in restored):
                run = runs[level, largest.size, seed]
                found.append(Model(level, seed, run, tuned, dict(sorted(restored.items()))))
    if not found:
        raise NotMeasuredError("no restored model was scored")
    return found


def chosen(
    evidence: Evidence, model: Model, method: str, shares: Iterable[float] | None = None
) -> float | None:
    """The share at which a model does best on the choice facts; of equals the smallest."""
    answers = evidence.answers
    candidates = {
        share: row
        for (name, share), row in model.restored.items()
        if name == method and (shares is None or share in shares)
    }
    if not candidates:
        return None
    values = headlines(list(candidates.values()), answers, answers.choice)
    best = max(values)
    return next(share for share, value in zip(candidates, values, strict=True) if value == best)


Pair = tuple[Model, Row, Row]


def compare(
    evidence: Evidence,
    pairs: list[Pair],
    domain: str,
    text: str,
    *,
    chosen: bool = True,
    part: float = 1,
) -> Compared:
    """The first row minus (a part of) the second one, the mean over training levels."""
    mask = evidence.domain_facts(domain, chosen=chosen)
    levels = sorted({model.level for model, _, _ in pairs})
    strata = [
        [
            [Term(1 / len(levels), ours), Term(-part / len(levels), theirs)]
            for model, ours, theirs in pairs
            if model.level == level
        ]
        for level in levels
    ]
    return Compared(contrasts=(evidence.contrast(strata, mask),), text=text)


def _gain(evidence: Evidence, *, domain: str) -> Compared:
    pairs, shares = [], []
    for model in models(evidence):
        share = chosen(evidence, model, RELATIVE)
        assert share is not None, model.run
        pairs.append((model, model.restored[RELATIVE, share], model.tuned))
        shares.append(share)
    return compare(evidence, pairs, domain, f"restored at {_told(shares)} minus tuned")


def _over_control(evidence: Evidence, *, control: str, domain: str, own_best: bool) -> Compared:
    pairs, shares = [], []
    for model in models(evidence):
        share = chosen(evidence, model, RELATIVE)
        assert share is not None, model.run
        other = chosen(evidence, model, control) if own_best else share
        if other is not None and (control, other) in model.restored:
            pairs.append((model, model.restored[RELATIVE, share], model.restored[control, other]))
            shares.append(share)
    if not pairs:
        raise NotMeasuredError(f"the control {control} was not scored")
    at = "each at its own best" if own_best else f"both at {_told(shares)}"
    if control == INTERPOLATION and not own_best:
        _require_same_norm(evidence, [pair[0].run for pair in pairs], shares)
    return compare(evidence, pairs, domain, f"relative minus {control}, {at}")


def _require_same_norm(evidence: Evidence, runs: Sequence[str], shares: Sequence[float]) -> None:
    """Refuse to judge a control of the same norm that removes another one.

    Raises:
        NotMeasuredError: when the norms of a run are not known, or differ.
    """
    table = evidence.of_known_runs("restorations").select("run", "method", "share", "norm_removed")
    norms = {tuple(key): norm for *key, norm in table.drop_nulls().iter_rows()}
    for run, share in zip(runs, shares, strict=True):
        target, own = (norms.get((run, name, share)) for name in (RELATIVE, INTERPOLATION))
        if target is None or own is None:
            raise NotMeasuredError(f"the norms that {run} had removed at {share:g} % are not known")
        if not is_same_norm(own, target):
            raise NotMeasuredError(
                f"{run} at {share:g} %: interpolation removed {100 * own:.3g} % of the squared "
                f"norm and relative {100 * target:.3g} %; the type that the models were asked in "
                "has no interpolation nearer to it"
            )


def _unneeded(evidence: Evidence, *, measure: str) -> Compared:
    removed = _removed(evidence, measure)
    pairs, shares = [], []
    for model in models(evidence):
        enough = {
            share
            for (run, share), fraction in removed.of.items()
            if run == model.run and fraction >= UNNEEDED
        }
        share = chosen(evidence, model, RELATIVE, enough)
        if share is not None:
            pairs.append((model, model.restored[RELATIVE, share], model.tuned))
            shares.append(share)
    if not pairs:
        most = max(removed.of.values(), default=0.0)
        raise NotMeasuredError(
            f"no restoration took back 90 % {removed.what}; the most was {100 * most:.3g} %"
        )
    return compare(evidence, pairs, "in", f"restored at {_told(shares)} minus tuned")


def _removed(evidence: Evidence, measure: str) -> Removed:
    if measure == "relative":
        table = evidence.of_known_runs("concentration").filter(pl.col("ranking") == RELATIVE)
        rows = table.select("run", "top", "held").drop_nulls().rows()
        return Removed(
            what="of the summed relative change", of={(run, top): held for run, top, held in rows}
        )
    restored = [
        (model.run, share)
        for model in models(evidence)
        for method, share in model.restored
        if method == RELATIVE
    ]
    if measure == "count":
        return Removed(
            what="of the parameters", of={(run, share): share / 100 for run, share in restored}
        )
    table = evidence.of_known_runs("restorations").filter(pl.col("method") == RELATIVE)
    rows = table.select("run", "share", "norm_removed").drop_nulls().rows()
    return Removed(what="of the squared norm", of={(run, share): norm for run, share, norm in rows})


def _collapse(evidence: Evidence) -> Compared:
    pairs = [
        (model, model.restored[RELATIVE, _COLLAPSE_SHARE], model.tuned)
        for model in models(evidence)
        if (RELATIVE, _COLLAPSE_SHARE) in model.restored
    ]
    if not pairs:
        raise NotMeasuredError(f"no model was restored at {_COLLAPSE_SHARE:g} %")
    text = f"restored at {_COLLAPSE_SHARE:g} % minus half of tuned"
    return compare(evidence, pairs, "in", text, chosen=False, part=_DESTROYED)


def _told(shares: list[float]) -> str:
    *others, last = (f"{share:g}" for share in sorted(set(shares)))
    return f"{', '.join(others)} or {last} %" if others else f"{last} %"
