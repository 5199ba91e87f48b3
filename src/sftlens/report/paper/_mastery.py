"""What the base model knew: facts by mastery level, by topic and by exposure (paper section 2)."""

from __future__ import annotations

import polars as pl

from sftlens.report._mastery import exposure_effect, topic_levels
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import VALUE, frame
from sftlens.report.paper._study import Study
from sftlens.scoring import NUM_LEVELS

_EXPOSURES = {
    "fact_id": pl.String,
    "num_statements": pl.Int64,
    "num_question_answers": pl.Int64,
}


def level_sizes(study: Study) -> pl.DataFrame:
    """Facts by mastery level (paper Tables 1 and 8).

    Returns:
        domain, split, level, num_facts; a level without facts has 0 of them.

    Raises:
        NotMeasuredError: when there is no mastery.
    """
    parts = study.known.select("domain", "split").unique()
    levels = pl.DataFrame({"level": range(NUM_LEVELS)}, schema={"level": pl.Int64})
    counts = study.known.group_by("domain", "split", "level").agg(
        pl.len().cast(pl.Int64).alias("num_facts")
    )
    order = pl.col("split").replace_strict(
        {"train": 0, "validation": 1, "test": 2}, default=3, return_dtype=pl.Int64
    )
    return (
        parts.join(levels, how="cross")
        .join(counts, on=["domain", "split", "level"], how="left")
        .with_columns(pl.col("num_facts").fill_null(0))
        .sort("domain", order, "split", "level")
    )


def levels_by_topic(study: Study) -> pl.DataFrame:
    """Facts by topic and mastery level.

    Returns:
        domain, topic, level, num_facts; in-domain topics first, then by falling mean mastery.

    Raises:
        NotMeasuredError: when there is no mastery.
    """
    mastery = study.table(
        "mastery",
        {"fact_id": pl.String, "topic": pl.String, "mastery": pl.Float64, "level": pl.Int64},
    ).drop_nulls()
    facts = study.table("facts", {"fact_id": pl.String, "domain": pl.String})
    rows = [
        {"domain": topic.domain, "topic": topic.topic, "level": level, "num_facts": num_facts}
        for topic in topic_levels(mastery, facts)
        for level, num_facts in enumerate(topic.counts)
    ]
    if not rows:
        raise NotMeasuredError("no fact has a mastery level")
    return frame(
        rows,
        {"domain": pl.String, "topic": pl.String, "level": pl.Int64, "num_facts": pl.Int64},
    )


def mastery_by_exposure(study: Study) -> pl.DataFrame:
    """Mean mastery by the true number of times that pre-training showed the fact.

    Returns:
        exposure (``3``, or ``12 to 16`` where exposures are grouped; ascending), value, low, high
        (Student's over facts; null with one fact), num_facts.

    Raises:
        NotMeasuredError: when the exposures are not known.
    """
    mastery = study.table("mastery", {"fact_id": pl.String, "mastery": pl.Float64}).drop_nulls()
    found = exposure_effect(mastery, study.table("exposures", _EXPOSURES))
    if found is None:
        raise NotMeasuredError("no fact with a mastery level has an exposure")
    rows = [
        {
            "exposure": point.label,
            **(point.mastery._asdict() if point.mastery else {"value": point.mean}),
            "num_facts": point.num_facts,
        }
        for point in found.points
    ]
    return frame(rows, {"exposure": pl.String}, VALUE, {"num_facts": pl.Int64})
