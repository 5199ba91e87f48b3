"""The table of the jobs that failed or were skipped, and claims of tables that are not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
import torch

from sftlens.errors import UserError
from sftlens.report.inference import CLAIMS_SCHEMA
from sftlens.study import InlineRunner, Job, Plan, Run, Store, run_jobs
from sftlens.study._judging import write_claims, write_failures

DIVERGED = "fine-tuning diverged; lower the learning rate"


def test_failures_and_what_waits_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = Plan(), Store(tmp_path / "jobs")
    runs = [Run(level, 8, 0) for level in range(4)]
    probe = plan.add("probe", {}, {})
    for run in runs:
        tuned = plan.add("tune", {"level": run.level}, {"probe": probe}, run=run)
        plan.runs[tuned] = run
        plan.add("score", {}, {"tuned": tuned}, run=run)
    wrong = {
        "tune level0-size8-seed0": UserError(DIVERGED),
        "tune level1-size8-seed0": torch.OutOfMemoryError("CUDA out of memory"),
        "score level2-size8-seed0": PermissionError(
            errno.EACCES, os.strerror(errno.EACCES), "a file"
        ),
    }

    def do_job(job: Job, inputs: Mapping[str, Job], store: Store) -> None:
        if job.name in wrong:
            raise wrong[job.name]
        store.make(job, lambda _: {})

    monkeypatch.setattr("sftlens.study._work.do_job", do_job)
    write_failures(plan, run_jobs(plan, store, InlineRunner(store)), tmp_path)
    names = [run.name for run in runs]
    found = pl.read_parquet(tmp_path / "failures.parquet")
    assert found.columns == ["job", "kind", "run", "reason"]
    assert found.drop("reason").rows() == [
        (f"tune {names[0]}", "tune", names[0]),
        (f"score {names[0]}", "score", names[0]),
        (f"tune {names[1]}", "tune", names[1]),
        (f"score {names[1]}", "score", names[1]),
        (f"score {names[2]}", "score", names[2]),
    ]
    reasons = found["reason"].to_list()
    assert reasons[:2] == [DIVERGED, f"waits for tune {names[0]}"]
    assert "out of memory" in reasons[2]
    assert "PermissionError: [Errno 13]" in reasons[4]

    wrong.clear()
    write_failures(plan, run_jobs(plan, store, InlineRunner(store)), tmp_path)
    assert not (tmp_path / "failures.parquet").exists()


def test_a_job_of_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = Plan(), Store(tmp_path / "jobs")
    plan.add("probe", {}, {})

    def do_job(*_: object) -> None:
        raise UserError("no")

    monkeypatch.setattr("sftlens.study._work.do_job", do_job)
    write_failures(plan, run_jobs(plan, store, InlineRunner(store)), tmp_path)
    rows = pl.read_parquet(tmp_path / "failures.parquet").rows()
    assert rows == [("probe", "probe", None, "no")]


def test_claims_without_tables(tmp_path: Path) -> None:
    assert write_claims(tmp_path) is None
    claims = pl.read_parquet(tmp_path / "claims.parquet")
    assert claims.schema == CLAIMS_SCHEMA
    assert claims["decision"].unique().to_list() == ["not measured"]


def test_claims_of_tables_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "runs.parquet").write_bytes(b"damaged")
    (tmp_path / "claims.parquet").write_bytes(b"of before")
    told = write_claims(tmp_path)
    assert told is not None
    assert told.startswith("no claims: ")
    assert not (tmp_path / "claims.parquet").exists()
