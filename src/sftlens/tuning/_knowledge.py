"""A callback that tells, while any Trainer trains, what becomes of the model's knowledge."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import Trainer, TrainerCallback

from sftlens.divergence import full_kl
from sftlens.errors import UserError
from sftlens.facts import Fact, Matching
from sftlens.generation import question_prompt
from sftlens.tuning._watch import Watch


class Knowledge(NamedTuple):
    """What a model knows of the watched facts at one step.

    Attributes:
        step: optimiser steps so far.
        accuracy: the plain mean of the mastery levels; without levels, of all facts.
        levels: accuracy by mastery level 0 to 4; None for a level without facts.
        kl: KL(model ‖ start) in nats of the first answer token, the mean of the facts.
        forgotten: of the facts that were answered at the start, the fraction that is not now; None
            where none was.
        seconds: what this evaluation took.
    """

    step: int
    accuracy: float
    levels: list[float | None]
    kl: float
    forgotten: float | None
    seconds: float


class KnowledgeCallback(TrainerCallback):  # type: ignore[misc]
    """Watches facts in a training with ``transformers.Trainer`` or a trainer of TRL.

    >>> callback = KnowledgeCallback(trainer, facts, levels, every=50)
    >>> trainer.add_callback(callback)
    >>> trainer.train()

    Before the first step, every ``every`` steps and after the last, the model is asked a seeded
    sample of facts. What comes of it is logged by the trainer, and so reaches TensorBoard,
    Weights & Biases, MLflow and ``trainer.state.log_history``: ``knowledge/accuracy``,
    ``knowledge/accuracy_level_0`` to ``_4``, ``knowledge/kl``, ``knowledge/forgotten``,
    ``knowledge/seconds``, ``knowledge/time_fraction``; ``history`` holds it too. The training goes
    on as if nothing had been asked: same modes of the modules, same random numbers.

    An evaluation costs ``num_facts`` greedy answers and as many prompts. The start's logits of the
    first token are kept in main memory: ``num_facts`` times vocabulary times 4 bytes. In a
    distributed training every process asks all facts, and the first one's results count. After a
    resumption the start is the step that was resumed from.

    Args:
        trainer: it must have the tokenizer as its ``processing_class``, or ``tokenizer`` be given.
        facts: to draw the sample from; not those that are trained on.
        levels: mastery level by fact_id, as ``sftlens.mastery.read_mastery(folder).levels``;
            without it there is one accuracy.
        every: steps between two evaluations.
        num_facts: facts of the sample, as many of each level as there are.
        max_fraction: of the time since training began, what evaluations may take; one that would
            exceed it is left out. The one before the first step is always made.
        max_forgotten: training stops when more of the facts known at the start are forgotten, a
            fraction.
        prompt: makes the prompt of a question, as the training data has it; by default that of
            ``sftlens tune``.
        max_new_tokens: tokens of an answer at most.
        matching: when an answer is correct.
        tokenizer: by default the trainer's.
        seed: of the sample.

    Raises:
        UserError: when there is no fact to ask, or, on beginning, when the model has a learnt
            prompt or lies in shards (FSDP, DeepSpeed ZeRO 3).
        ValueError: when a limit is out of its range.
    """

    def __init__(
        self,
        trainer: Any,
        facts: Sequence[Fact],
        levels: Mapping[str, int] | None = None,
        *,
        every: int = 50,
        num_facts: int = 200,
        max_fraction: float = 0.2,
        max_forgotten: float | None = None,
        prompt: Callable[[str], str] = question_prompt,
        max_new_tokens: int = 16,
        matching: Matching = "contains",
        tokenizer: Any = None,
        seed: int = 0,
    ) -> None:
        if every < 1:
            raise ValueError(f"every: {every} steps; give 1 or more")
        if not 0 < max_fraction <= 1:
            raise ValueError(f"max_fraction: {max_fraction} is not above 0 and at most 1")
        if max_forgotten is not None and not 0 <= max_forgotten <= 1:
            raise ValueError(f"max_forgotten: {max_forgotten} is not within 0 and 1")
        self.history: list[Knowledge] = []
        self.num_skipped = 0
        self._trainer = trainer
        self._every, self._max_fraction, self._most = every, max_fraction, max_forgotten
        self._tokenizer = tokenizer
        self._watch = Watch(
            facts,
            levels,
            num_facts=num_facts,
            seed=seed,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            matching=matching,
        )
        self._clock = time.perf_counter
        self._began = 0.0
        self._known: list[bool] = []
        self._start = torch.empty(0)

    @property
    def seconds(self) -> float:
        """What all evaluations took."""
        return sum(one.seconds for one in self.history)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Ask the model that training starts from."""
        _require_whole(self._trainer)
        if self._tokenizer is None:
            processing = given.get("processing_class")
            self._tokenizer = getattr(processing, "tokenizer", processing)
        self.history, self.num_skipped = [], 0
        self._began = self._clock()
        self._known = self._watch.answers(given["model"], self._tokenizer)
        self._start = self._watch.first_token_logits(given["model"], self._tokenizer)
        found = self._knowledge(state.global_step, self._known, self._start, self._began)
        self._record(found, control)
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Ask the model where it is its turn."""
        if state.global_step % self._every and state.global_step != state.max_steps:
            return control
        if not self._affordable():
            self.num_skipped += 1
            return control
        begin = self._clock()
        correct = self._watch.answers(given["model"], self._tokenizer)
        logits = self._watch.first_token_logits(given["model"], self._tokenizer)
        found = self._knowledge(state.global_step, correct, logits, begin)
        self._record(found, control)
        if self._most is not None and (found.forgotten or 0) > self._most:
            if state.is_world_process_zero:
                sys.stderr.write(
                    f"step {found.step}: {100 * (found.forgotten or 0):.1f} % of the known facts "
                    f"are forgotten, more than {100 * self._most:g} %: training stops\n"
                )
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell what watching cost."""
        if state.is_world_process_zero:
            elapsed = max(self._clock() - self._began, self.seconds)
            sys.stderr.write(
                f"knowledge: {len(self.history)} evaluations of {len(self._watch.facts)} facts in "
                f"{self.seconds:.1f} s, {100 * self.seconds / (elapsed or 1):.1f} % of the time; "
                f"{self.num_skipped} left out\n"
            )

    def _affordable(self) -> bool:
        last = self.history[-1].seconds
        elapsed = self._clock() - self._began
        within = self.seconds + last <= self._max_fraction * (elapsed + last)
        return bool(_of_the_first(within))

    def _knowledge(
        self, step: int, correct: Sequence[bool], logits: torch.Tensor, begin: float
    ) -> Knowledge:
        accuracy = self._watch.accuracy(correct)
        kept = [now for now, before in zip(correct, self._known, strict=True) if before]
        found = Knowledge(
            step,
            accuracy.mean,
            accuracy.levels,
            float(full_kl(logits, self._start).mean()),
            1 - sum(kept) / len(kept) if kept else None,
            self._clock() - begin,
        )
        agreed: Knowledge = _of_the_first(found)
        return agreed

    def _record(self, found: Knowledge, control: Any) -> None:
        self.history.append(found)
        elapsed = max(self._clock() - self._began, self.seconds)
        values = {
            "accuracy": found.accuracy,
            **{f"accuracy_level_{k}": value for k, value in enumerate(found.levels)},
            "kl": found.kl,
            "forgotten": found.forgotten,
            "seconds": found.seconds,
            "time_fraction": self.seconds / elapsed if elapsed else None,
        }
        told = {f"knowledge/{name}": value for name, value in values.items() if value is not None}
        # Logging clears the wish to log, which may be there for the loss of this very step, and
        # TRL's own logging the averages that belong beside that loss.
        asked = control.should_log
        Trainer.log(self._trainer, told)
        control.should_log = asked


def _require_whole(trainer: Any) -> None:
    """Refuse a training in which no process holds a whole model to ask."""
    state = trainer.accelerator.state
    deepspeed = state.deepspeed_plugin
    if getattr(state, "fsdp_plugin", None) is not None:
        shards = "FSDP"
    elif deepspeed is not None and deepspeed.zero_stage == 3:
        shards = "DeepSpeed ZeRO 3"
    else:
        return
    raise UserError(
        f"a model in shards ({shards}) cannot be watched; leave the callback out, or give each "
        "process a whole model (plain data parallel)"
    )


def _of_the_first(value: Any) -> Any:
    """The first process's value, in all of them."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    if PartialState().num_processes == 1:
        return value
    return broadcast_object_list([value])[0]
