"""What is made of a study's tables: the paper's claims, and the jobs that are missing."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sftlens.errors import UserError
from sftlens.outputs import new_file
from sftlens.report.inference import paper_claims, read_study
from sftlens.study._plan import Plan
from sftlens.study._runner import Outcome

CLAIMS = "claims.parquet"
FAILURES = "failures.parquet"

FAILURES_SCHEMA = {
    "job": pl.String,
    "kind": pl.String,
    "run": pl.String,
    "reason": pl.String,
}


def write_failures(plan: Plan, outcome: Outcome | None, folder: Path) -> None:
    """Write the jobs that failed or were skipped and why; no table where there are none.

    Args:
        plan: the jobs.
        outcome: what became of them; None where all are done.
        folder: takes the table: job, kind, run (null for a job of no run) and reason.
    """
    reasons: dict[str, str] = {}
    if outcome is not None:
        waits = {name: f"waits for {failed}" for name, failed in outcome.skipped.items()}
        reasons = {**outcome.failed, **waits}
    runs = {run.name for run in plan.runs.values()}
    rows = [
        (name, job.kind, of if (of := name.partition(" ")[2]) in runs else None, reasons[name])
        for name, job in plan.jobs.items()
        if name in reasons
    ]
    if not rows:
        (folder / FAILURES).unlink(missing_ok=True)
        return
    table = pl.DataFrame(rows, schema=FAILURES_SCHEMA, orient="row")
    with new_file(folder / FAILURES) as path:
        table.write_parquet(path)


def write_claims(folder: Path) -> str | None:
    """Judge the paper's claims by the tables of a run folder, and write the outcome beside them.

    Returns:
        Why there is no outcome; None where there is.
    """
    try:
        table = paper_claims(read_study(folder))
    except UserError as error:
        (folder / CLAIMS).unlink(missing_ok=True)
        return f"no claims: {error}"
    with new_file(folder / CLAIMS) as path:
        table.write_parquet(path)
    return None
