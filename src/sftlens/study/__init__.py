"""A grid of training runs, restorations and scores: plan, jobs, runners, store, one report."""

from sftlens.study._demo import DemoResult, demo_settings, run_demo
from sftlens.study._estimate import Estimate, Planned, plan_study
from sftlens.study._file import (
    Run,
    ScaleSettings,
    StudyFile,
    load_rates,
    load_study,
    training_runs,
)
from sftlens.study._plan import Job, Plan, Sources, make_plan
from sftlens.study._rates import Rates
from sftlens.study._ray import RayRunner
from sftlens.study._references import BASE_SCORES
from sftlens.study._runner import (
    Finished,
    InlineRunner,
    Outcome,
    ProcessRunner,
    Runner,
    run_jobs,
)
from sftlens.study._store import RECORD, Store
from sftlens.study._study import StudyResult, run_study
from sftlens.study._tasks import SCORES

__all__ = [
    "BASE_SCORES",
    "RECORD",
    "SCORES",
    "DemoResult",
    "Estimate",
    "Finished",
    "InlineRunner",
    "Job",
    "Outcome",
    "Plan",
    "Planned",
    "ProcessRunner",
    "Rates",
    "RayRunner",
    "Run",
    "Runner",
    "ScaleSettings",
    "Sources",
    "Store",
    "StudyFile",
    "StudyResult",
    "demo_settings",
    "load_rates",
    "load_study",
    "make_plan",
    "plan_study",
    "run_demo",
    "run_jobs",
    "run_study",
    "training_runs",
]
