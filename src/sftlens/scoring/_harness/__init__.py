"""The bridge to lm-evaluation-harness: facts as its tasks, and its tasks on our models."""

from sftlens.scoring._harness._evaluate import (
    ITEMS_SCHEMA,
    RESULTS_SCHEMA,
    HarnessResults,
    HarnessSettings,
    evaluate_harness_tasks,
)
from sftlens.scoring._harness._export import export_harness_tasks
from sftlens.scoring._harness._tasks import HarnessTasks, load_harness_tasks

__all__ = [
    "ITEMS_SCHEMA",
    "RESULTS_SCHEMA",
    "HarnessResults",
    "HarnessSettings",
    "HarnessTasks",
    "evaluate_harness_tasks",
    "export_harness_tasks",
    "load_harness_tasks",
]
