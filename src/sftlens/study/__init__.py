"""A grid of training runs, restorations and scores, with one report."""

from sftlens.study._demo import DemoResult, DemoSettings, demo_settings, run_demo
from sftlens.study._settings import Run, StudySettings, training_runs
from sftlens.study._store import Store

__all__ = [
    "DemoResult",
    "DemoSettings",
    "Run",
    "Store",
    "StudySettings",
    "demo_settings",
    "run_demo",
    "training_runs",
]
