"""Accuracy by size of the training set, and by restored share, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sftlens.report._answers import RELATIVE, Cell
from sftlens.report.inference._crossed import NUM_RESAMPLES, Contrast, infer
from sftlens.report.inference._evidence import Evidence, NotMeasuredError, Term
from sftlens.report.inference._restoration_claims import MARGIN, compare, models

SIZE_CURVES_SCHEMA = pl.Schema(
    {
        "domain": pl.String(),
        "level": pl.Int64(),
        "size": pl.Int64(),
        "num_facts_trained": pl.Float64(),
        "accuracy": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "num_facts": pl.Int64(),
        "num_training_sets": pl.Int64(),
    }
)
HARMLESS_SCHEMA = pl.Schema(
    {
        "domain": pl.String(),
        "share": pl.Float64(),
        "norm_removed": pl.Float64(),
        "relative_removed": pl.Float64(),
        "effect": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "num_training_sets": pl.Int64(),
        "harmless": pl.Boolean(),
    }
)


def size_curves(
    tables: Mapping[str, pl.DataFrame], *, num_resamples: int = NUM_RESAMPLES
) -> pl.DataFrame:
    """The headline accuracy of every training level and size (paper section 4, Figure 2).

    Args:
        tables: of a study, by name.
        num_resamples: of the bootstrap.

    Returns:
        :data:`SIZE_CURVES_SCHEMA`: fractions over all test facts, and 95 % intervals over facts and
        training sets (over facts only where num_training_sets is 1); num_facts_trained is the mean
        over training sets. Empty where no tuned model was scored.
    """
    evidence = Evidence(tables)
    keys: list[tuple[str, Cell]] = []
    contrasts: list[Contrast] = []
    try:
        answers = evidence.answers
    except NotMeasuredError:
        return pl.DataFrame(schema=SIZE_CURVES_SCHEMA)
    for domain in answers.domains:
        mask = evidence.domain_facts(domain, chosen=False)
        for level in answers.levels_trained:
            for size in answers.sizes(level):
                rows = answers.rows[Cell(level, size)]
                stratum = [[Term(1.0, row)] for _, row in sorted(rows.items())]
                try:
                    contrasts.append(evidence.contrast([stratum], mask))
                except NotMeasuredError:
                    continue
                keys.append((domain, Cell(level, size)))
    found = infer(contrasts, num_resamples=num_resamples)
    rows_out = [
        (
            domain,
            cell.level,
            cell.size,
            answers.true_size[cell.level, cell.size],
            *one.estimate,
            one.num_facts,
            one.num_training_sets,
        )
        for (domain, cell), one in zip(keys, found, strict=True)
    ]
    return pl.DataFrame(rows_out, schema=SIZE_CURVES_SCHEMA, orient="row")


def harmless_shares(
    tables: Mapping[str, pl.DataFrame], *, num_resamples: int = NUM_RESAMPLES
) -> pl.DataFrame:
    """How much of an update can be taken back without a loss (paper section 6, "up to 90 %").

    Shares are tested from the smallest on, and the test stops at the first that fails, so that no
    correction is needed: a share is ``harmless`` where it and all smaller ones lose less than
    2 points of accuracy, by the lower end of the 95 % interval. No share is chosen, so all test
    facts count.

    Args:
        tables: of a study, by name.
        num_resamples: of the bootstrap.

    Returns:
        :data:`HARMLESS_SCHEMA` by domain and share (percent): restored by relative change minus
        tuned, mean over training levels; the fractions of the squared norm of the update and of
        its summed relative change that the share removes, means over runs, null where not
        measured. Empty where no restored model was scored.
    """
    evidence = Evidence(tables)
    try:
        tuned = models(evidence)
    except NotMeasuredError:
        return pl.DataFrame(schema=HARMLESS_SCHEMA)
    shares = sorted(
        set.intersection(
            *({s for method, s in model.restored if method == RELATIVE} for model in tuned)
        )
    )
    norms = _means(evidence, "restorations", "method", "share", "norm_removed")
    sums = _means(evidence, "concentration", "ranking", "top", "held")
    rows: list[tuple[object, ...]] = []
    for domain in evidence.answers.domains:
        contrasts = [
            contrast
            for share in shares
            for contrast in compare(
                evidence,
                [(model, model.restored[RELATIVE, share], model.tuned) for model in tuned],
                domain,
                "",
                chosen=False,
            ).contrasts
        ]
        harmless = True
        for share, one in zip(shares, infer(contrasts, num_resamples=num_resamples), strict=True):
            harmless = harmless and one.estimate.low > -MARGIN
            rows.append(
                (
                    domain,
                    share,
                    norms.get(share),
                    sums.get(share),
                    *one.estimate,
                    one.num_training_sets,
                    harmless,
                )
            )
    return pl.DataFrame(rows, schema=HARMLESS_SCHEMA, orient="row")


def _means(
    evidence: Evidence, table: str, kind: str, share: str, value: str
) -> dict[float, float | None]:
    try:
        rows = evidence.of_known_runs(table)
    except NotMeasuredError:
        return {}
    means = rows.filter(pl.col(kind) == RELATIVE).group_by(share).agg(pl.col(value).mean())
    return dict(means.iter_rows())
