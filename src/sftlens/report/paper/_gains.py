"""What restoration gives at the share that other facts chose, and what of the update it takes."""

from __future__ import annotations

import polars as pl

from sftlens.report._answers import RELATIVE
from sftlens.report._effects import restorations_of
from sftlens.report._shift import norm_removed
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import DIFFERENCE, VALUE, frame
from sftlens.report.paper._study import CHOSEN_ON, Study

_NORMS = {"method": pl.String, "share": pl.Float64, "norm_removed": pl.Float64}


def restoration_gains(study: Study) -> pl.DataFrame:
    """What each method gives over the tuned model, at one share for all methods.

    It is the share at which relative change does best on facts that the differences leave out; at
    the largest size of each training level (of those restored, where some were).

    Returns:
        domain, level, size, method, share (percent), chosen_on (what the share was chosen on),
        difference from the tuned model with difference_low and difference_high (paired over
        training sets and facts).

    Raises:
        NotMeasuredError: when no model restored by relative change was scored.
    """
    answers = study.answers
    restorations = restorations_of(answers)
    rows = [
        {
            "domain": domain,
            "level": level,
            "size": found.tuned.size,
            "method": method,
            "share": found.chosen.cell.share,
            "chosen_on": CHOSEN_ON[answers.choice_kind],
            "difference": effect.value,
            "difference_low": effect.low,
            "difference_high": effect.high,
        }
        for domain in answers.domains
        for level, found in restorations.items()
        for method, by_domain in {RELATIVE: found.chosen.effect, **found.controls_gain}.items()
        if (effect := by_domain[domain]) is not None
    ]
    if not rows:
        raise NotMeasuredError("no model restored by relative change was scored")
    return frame(
        rows,
        {
            "domain": pl.String,
            "level": pl.Int64,
            "size": pl.Int64,
            "method": pl.String,
            "share": pl.Float64,
            "chosen_on": pl.String,
        },
        DIFFERENCE,
    )


def removed_norm(study: Study) -> pl.DataFrame:
    """The fraction of the update's squared norm that each method takes out, by share.

    Returns:
        method, share (percent), value, low, high (the least and the most of any run), num_runs.

    Raises:
        NotMeasuredError: when it was not measured.
    """
    found = norm_removed(study.table("restorations", _NORMS))
    if not found:
        raise NotMeasuredError("table restorations holds no norm")
    rows = [
        {
            "method": method,
            "share": share,
            "value": held.mean,
            "low": held.lowest,
            "high": held.highest,
            "num_runs": held.num_runs,
        }
        for (method, share), held in found.items()
    ]
    return frame(
        rows,
        {"method": pl.String, "share": pl.Float64},
        VALUE,
        {"num_runs": pl.Int64},
    )
