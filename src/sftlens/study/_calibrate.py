"""Rates measured on this machine by a few batches of each kind of work."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sftlens.checkpoints import resolve_model
from sftlens.facts import Fact
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import ProbeSettings, probe
from sftlens.scoring import ScoreSettings, score
from sftlens.storage_types import StorageType
from sftlens.study._rates import TOKENS_PER_FACT, Rates, Told
from sftlens.study._tasks import is_scored, is_trained_on
from sftlens.tuning import TuneSettings, fine_tune

_PROBED = 8  # facts
_SCORED = 64
_STEPS = 4


def calibrate(
    base: str,
    facts: Sequence[Fact],
    probing: ProbeSettings,
    tuning: TuneSettings,
    scoring: ScoreSettings,
    dtype: StorageType,
) -> Told:
    """Measure rates with the base model; the first pass of each kind of work is not counted.

    Args:
        base: folder or hub id.
        facts: the study's; the first few of them are worked on.
        probing: how the study probes.
        tuning: how it fine-tunes.
        scoring: how it scores.
        dtype: the type that it scores in.

    Raises:
        UserError: when the base cannot be loaded.
    """
    probed = facts[:_PROBED]
    asked = ([fact for fact in facts if is_scored(fact)] or list(facts))[:_SCORED]
    num_trained = _STEPS * tuning.batch_size
    trained = ([fact for fact in facts if is_trained_on(fact)] or list(facts))[:num_trained]
    folder = resolve_model(base)
    loaded = load_model(folder)
    generator = TransformersGenerator(loaded.model, loaded.tokenizer)
    completions = len(probed) * probing.num_templates * probing.num_samples
    probe_seconds = _seconds(partial(probe, generator, probed, probing))
    del loaded, generator
    loaded = load_model(folder, dtype=dtype)
    generator = TransformersGenerator(loaded.model, loaded.tokenizer)
    score_seconds = _seconds(partial(score, generator, asked, {}, scoring))
    device = loaded.model.device.type
    del loaded, generator

    def train() -> None:
        with tempfile.TemporaryDirectory(prefix="sftlens-") as out:
            fine_tune(load_model(folder), trained, Path(out), tuning)

    train_seconds = _seconds(train)
    train_tokens = len(trained) * tuning.num_epochs * TOKENS_PER_FACT
    return Told(
        Rates(
            probe=completions * probing.max_new_tokens / probe_seconds,
            train=train_tokens / train_seconds,
            score=len(asked) * scoring.max_new_tokens / score_seconds,
            memory=_peak_bytes(device),
        ),
        f"measured here, {device}",
        f"rates were measured on {completions} completions, {len(asked)} answers, and "
        f"{len(trained)} training facts, with loading and saving of the model",
    )


def _peak_bytes(device: str) -> int | None:
    """What this process has taken of a GPU at most, CUDA's own part aside."""
    import torch

    return torch.cuda.max_memory_reserved() if device == "cuda" else None


def _seconds(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter()
    work()
    return max(time.perf_counter() - start, 1e-9)
