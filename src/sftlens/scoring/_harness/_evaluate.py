"""Tasks of lm-evaluation-harness on a model."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sftlens.generation import LoadedModel, load_model
from sftlens.progress import quiet_libraries
from sftlens.scoring._harness._model import as_it_is, harness_model
from sftlens.scoring._harness._tasks import HarnessTasks, harness_level, no_bars, off_stdout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RESULTS_SCHEMA = pl.Schema(
    {
        "task": pl.String(),
        "metric": pl.String(),
        "filter": pl.String(),
        "value": pl.Float64(),
        "stderr": pl.Float64(),
        "num_items": pl.Int64(),
        "num_fewshot": pl.Int64(),
    }
)

ITEMS_SCHEMA = pl.Schema(
    {
        "task": pl.String(),
        "item": pl.Int64(),
        "filter": pl.String(),
        "metric": pl.String(),
        "value": pl.Float64(),
        "answer": pl.String(),
        "doc": pl.String(),
    }
)

_NUM_RESAMPLES = 1000  # for the few metrics whose standard error has no closed form


class HarnessSettings(BaseModel):
    """How tasks of the harness are run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int | None = Field(None, ge=1, description="items of each task at most, its first ones")
    num_fewshot: int | None = Field(
        None,
        ge=0,
        le=1_000,
        description="examples in the prompt; a task that sets 0 itself keeps it",
    )
    batch_size: int = Field(8, ge=1, le=65_536, description="items a pass through the model")
    seed: int = Field(0, ge=0, lt=2**32, description="of the examples and of sampling")


class HarnessResults(NamedTuple):
    """What tasks of the harness found.

    Attributes:
        results: one row for each task or group, metric and filter, :data:`RESULTS_SCHEMA`. Groups
            have rows where they define an aggregate. ``stderr`` is the harness's own, null where
            it gives none.
        items: one row for each item, filter and metric, :data:`ITEMS_SCHEMA`; None unless asked
            for. ``answer`` is the text that was judged, or of choices their log-likelihoods as
            JSON; ``doc`` is the item as JSON; ``value`` is null where a metric has no number for
            one item.
    """

    results: pl.DataFrame
    items: pl.DataFrame | None


def evaluate_harness_tasks(
    model: str | Path | LoadedModel | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    tasks: HarnessTasks,
    settings: HarnessSettings | None = None,
    *,
    items: bool = False,
    places: Mapping[str, Sequence[int]] | None = None,
) -> HarnessResults:
    """Run tasks of lm-evaluation-harness on a model, as in the paper's Table 5.

    A model in memory is evaluated as it stands and left as it was, so that restorations need no
    checkpoints on disk:

    >>> tasks = load_harness_tasks(["gsm8k"])
    >>> model, tokenizer, _ = load_model("tuned")
    >>> with Sweep(model, pair) as sweep:
    ...     for planned in plan(pair, Request(shares=(5, 20, 40))):
    ...         sweep.step(planned.restoration)
    ...         table = evaluate_harness_tasks((model, tokenizer), tasks).results

    Decoding is the task's alone: penalties, lengths and the like of the model's own generation
    config are left aside, so that models which differ in it are compared alike. No chat template
    is applied. A prompt that is too long for the model loses its beginning, as the harness has it,
    with a notice on standard error.

    Args:
        model: folder or hub id, or a causal language model in memory with its tokenizer.
        tasks: see :func:`load_harness_tasks`.
        settings: see :class:`HarnessSettings`.
        items: whether to give the results of every item too.
        places: by task, the numbers of the items to ask, in place of the settings' ``limit``.

    Raises:
        UserError: when the model cannot be loaded.
    """
    from lm_eval.evaluator import evaluate

    settings = settings or HarnessSettings()
    source = load_model(model) if isinstance(model, (str, Path)) else model
    pretrained, tokenizer = source[0], source[1]
    loaded = tasks.loaded["tasks"]
    num_fewshot = {name: _num_fewshot(tasks.num_fewshot[name], settings) for name in tasks.names}
    for name, task in loaded.items():
        task.set_config(key="num_fewshot", value=num_fewshot[name])
        task.set_fewshot_seed(seed=settings.seed)
    with ExitStack() as stack:
        for quiet in (off_stdout(), quiet_libraries(), no_bars()):
            stack.enter_context(quiet)
        stack.enter_context(as_it_is(pretrained, tokenizer))
        stack.enter_context(_seeded(settings.seed))
        with harness_level(logging.ERROR):
            wrapped = harness_model(pretrained, tokenizer, settings.batch_size)
        found = evaluate(
            wrapped,
            tasks.loaded,
            limit=settings.limit if places is None else None,
            samples=_in_order(places),
            bootstrap_iters=_NUM_RESAMPLES,
            log_samples=items,
        )
    return HarnessResults(
        _results(found["results"], num_fewshot), _items(found["samples"]) if items else None
    )


def _in_order(places: Mapping[str, Sequence[int]] | None) -> dict[str, list[int]] | None:
    """The harness goes over the items in their order, and numbers them by it."""
    return None if places is None else {task: sorted(set(own)) for task, own in places.items()}


def _num_fewshot(own: int | None, settings: HarnessSettings) -> int:
    """Examples in a task's prompt, by the harness's rule."""
    if own == 0 or settings.num_fewshot is None:
        return own or 0
    return settings.num_fewshot


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that tasks draw from, and leave them as they were."""
    import torch

    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def _results(found: Mapping[str, Any], num_fewshot: Mapping[str, int]) -> pl.DataFrame:
    rows = []
    for task, metrics in found.items():
        for key, value in metrics.items():
            metric, comma, name = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            stderr = _number(metrics.get(f"{metric}_stderr,{name}"))
            num_items, shots = metrics.get("sample_len"), num_fewshot.get(task)
            rows.append((task, metric, name, _number(value), stderr, num_items, shots))
    return pl.DataFrame(rows, schema=RESULTS_SCHEMA, orient="row")


def _items(found: Mapping[str, Any]) -> pl.DataFrame:
    rows = []
    for task, samples in found.items():
        for sample in samples:
            answers = sample["filtered_resps"]
            answer = answers[0] if len(answers) == 1 else answers
            text = answer if isinstance(answer, str) else _json(answer)
            doc = _json(sample["doc"])
            for metric in sample["metrics"]:
                value = _number(sample[metric])
                rows.append((task, sample["doc_id"], sample["filter"], metric, value, text, doc))
    return pl.DataFrame(rows, schema=ITEMS_SCHEMA, orient="row")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (bool, int, float, np.number)) else None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
