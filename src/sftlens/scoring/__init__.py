"""Closed-book question answering per mastery level, with intervals."""

from sftlens.intervals import Estimate, mean_of_proportions, proportion
from sftlens.mastery import NUM_LEVELS
from sftlens.scoring._harness import (
    ITEMS_SCHEMA,
    RESULTS_SCHEMA,
    HarnessResults,
    HarnessSettings,
    HarnessTasks,
    evaluate_harness_tasks,
    export_harness_tasks,
    load_harness_tasks,
)
from sftlens.scoring._intervals import difference, mean_of_levels
from sftlens.scoring._run import ScoreResult, run_score
from sftlens.scoring._score import SCORES_SCHEMA, Accuracy, ScoreSettings, accuracy, score
from sftlens.scoring._sweep import score_sweep
from sftlens.scoring._transitions import run_transitions, transitions

__all__ = [
    "ITEMS_SCHEMA",
    "NUM_LEVELS",
    "RESULTS_SCHEMA",
    "SCORES_SCHEMA",
    "Accuracy",
    "Estimate",
    "HarnessResults",
    "HarnessSettings",
    "HarnessTasks",
    "ScoreResult",
    "ScoreSettings",
    "accuracy",
    "difference",
    "evaluate_harness_tasks",
    "export_harness_tasks",
    "load_harness_tasks",
    "mean_of_levels",
    "mean_of_proportions",
    "proportion",
    "run_score",
    "run_transitions",
    "score",
    "score_sweep",
    "transitions",
]
