"""What a study will take: counts, hours, memory and disk, each with what it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from sftlens import notebook
from sftlens.errors import UserError
from sftlens.facts import Fact, read_facts
from sftlens.headers import DTYPE_BYTES
from sftlens.mastery import NUM_LEVELS, num_completions
from sftlens.storage_types import IN_HEADER
from sftlens.study._calibrate import calibrate
from sftlens.study._file import Run, StudyFile, training_runs
from sftlens.study._fitting import Size, jobs_that_fit, model_size, training_notes
from sftlens.study._harness_tasks import NamedTask
from sftlens.study._methods import named_method, num_restorations
from sftlens.study._plan import Plan, Sources, make_plan
from sftlens.study._rates import (
    DEVICES,
    READ_BYTES_PER_SECOND,
    START_SECONDS,
    TOKENS_PER_FACT,
    TRAINING_BYTES,
    Rates,
    Told,
    assumed_rates,
)
from sftlens.study._tasks import is_scored, is_trained_on, is_used
from sftlens.tuning import num_steps
from sftlens.world import PRESETS, make_world

_COMPLETION_BYTES = 60  # in the ledger and in the table, assumed
_PASSES = 4  # over a pair of checkpoints for each method
_MATCHING = 4  # looks at a pair until a method removes a given norm, as small models took
_MANY_LAYERS = 1 << 20
_HOUR = 3600
_GB = 1e9


class Estimate(NamedTuple):
    """One number of the plan, and what it rests on."""

    what: str
    value: float
    unit: str
    rests_on: str


@dataclass(frozen=True)
class Planned(notebook.Tabular):
    """What ``sftlens study plan`` tells.

    Attributes:
        num_jobs: jobs of the study.
        kinds: jobs by kind.
        estimate: what they will take.
        notes: what to know before starting.
    """

    num_jobs: int
    kinds: dict[str, int]
    estimate: list[Estimate]
    notes: list[str]

    def to_polars(self) -> pl.DataFrame:
        """A row an estimate: what, value, unit, rests_on."""
        return notebook.many_rows([one._asdict() for one in self.estimate])

    def _repr_html_(self) -> str:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.kinds.items())
        return notebook.as_html(f"{self.num_jobs:,} jobs: {kinds}", self.to_polars(), self.notes)


def plan_study(
    study: StudyFile, *, rates: Rates | None = None, calibration: bool = False
) -> Planned:
    """The jobs of a study and what they will take. Facts are read; no model is loaded or fetched.

    Args:
        study: what to vary and measure.
        rates: measured rates, instead of those of the study file.
        calibration: measure the rates on this machine; loads the base model, and fetches it where
            it is not here.

    Raises:
        UserError: when the facts are not to be had, or there is no base to measure yet,
            or the configuration under ``launch`` is unusable.
    """
    tasks = tuple(NamedTask(entry, "", None) for entry in study.tasks)
    plan = make_plan(study, Sources(base={"source": study.base or ""}, tasks=tasks))
    facts = _facts(study)
    size = model_size(study)
    told = _rates(study, size, rates, facts if calibration else None)
    parts = _Parts(study, plan, facts, size, told)
    estimate = [*parts.counts(), *parts.hours(), *parts.room()]
    kinds = Counter[str](job.kind for job in plan.jobs.values())
    return Planned(len(plan.jobs), dict(kinds), estimate, parts.notes())


class _Parts:
    """The numbers of a plan, by what they depend on."""

    def __init__(
        self,
        study: StudyFile,
        plan: Plan,
        facts: Sequence[Fact],
        size: Size,
        told: Told | None,
    ) -> None:
        self.study, self.plan, self.size, self.told = study, plan, size, told
        self.num_facts = len(facts)
        self.num_scored = sum(map(is_scored, facts))
        num_training = sum(map(is_trained_on, facts))
        sizes = study.estimate.level_sizes
        self.level_sizes = sizes or (num_training // NUM_LEVELS,) * NUM_LEVELS
        self.levels_rest_on = (
            "the study file's level_sizes"
            if sizes
            else f"{num_training:,} training facts, assumed to be spread evenly over the levels"
        )
        self.runs = training_runs(study)
        self.num_completions = num_completions(self.num_facts, study.probe)
        restored = {job.settings["run"] for job in plan.of_kind("restore")}
        self.num_restored_runs = len([run for run in self.runs if run.name in restored])
        self.num_ways = num_restorations(study.methods, study.shares)
        self.num_restorations = self.num_restored_runs * self.num_ways
        evaluated = [job for job in plan.of_kind("tasks") if "tuned" in job.inputs]
        self.num_evaluated = len(evaluated)
        self.num_ways_on_tasks = 2 + sum(named_method(name).is_matched for name in study.methods)
        restored_on_tasks = len(evaluated) * self.num_ways_on_tasks * len(study.shares)
        self.num_on_tasks = len(plan.of_kind("tasks")) + restored_on_tasks
        trained = [self.num_training_facts(run) for run in self.runs if run.name in restored]
        self.num_layer_groups = min(study.layer_groups, _num_layers(study))
        asked = len(plan.of_kind("score")) + len(plan.of_kind("base-score"))
        self.num_answers = {
            "scoring": (asked + len(plan.of_kind("noise"))) * self.num_scored,
            "restoring": self.num_restorations * self.num_scored,
            "layers": len(plan.of_kind("layers")) * self.num_layer_groups * self.num_scored,
            "training": sum(trained) * (self.num_ways + 1),
        }

    def num_training_facts(self, run: Run) -> int:
        available = sum(self.level_sizes) if run.level is None else self.level_sizes[run.level]
        return min(run.size, available) if isinstance(run.size, int) else available

    def counts(self) -> list[Estimate]:
        steps = sum(num_steps(self.num_training_facts(run), self.study.tune) for run in self.runs)
        probe = self.study.probe
        found = [
            Estimate(
                "completions of the probe",
                self.num_completions,
                "completions",
                f"{self.num_facts:,} facts × {probe.num_templates} templates × "
                f"{probe.num_samples} samples",
            ),
            Estimate(
                "fine-tuning",
                steps,
                "steps",
                f"{len(self.runs)} runs, batch {self.study.tune.batch_size}; sizes by level from "
                f"{self.levels_rest_on}",
            ),
            Estimate(
                "answers of the base and of tuned models",
                self.num_answers["scoring"],
                "answers",
                f"{self.num_scored:,} facts (test, and in-domain validation) of each run, of the "
                f"base, and again of {len(self.plan.of_kind('noise'))} runs"
                + (", and of the instruct model" if self.study.instruct else ""),
            ),
            Estimate(
                "answers of restored models",
                self.num_answers["restoring"],
                "answers",
                f"{self.num_scored:,} facts × {self.num_restored_runs} runs × "
                f"{self.num_ways} restorations ({len(self.study.methods)} methods, "
                f"{len(self.study.shares)} shares)",
            ),
            Estimate(
                "answers of models with layers given back",
                self.num_answers["layers"],
                "answers",
                f"{self.num_scored:,} facts × {len(self.plan.of_kind('layers'))} runs × "
                f"{self.num_layer_groups} groups of layers at most",
            ),
            Estimate(
                "answers on training facts",
                self.num_answers["training"],
                "answers",
                f"those of each of {self.num_restored_runs} runs, tuned and after "
                f"{self.num_ways} restorations",
            ),
        ]
        if self.study.tasks:
            found.append(
                Estimate(
                    "models on other tasks",
                    self.num_on_tasks,
                    "models",
                    f"the base, and {self.num_evaluated} tuned models with "
                    f"{self.num_ways_on_tasks} × {len(self.study.shares)} restorations each, on "
                    f"{', '.join(self.study.tasks)}",
                )
            )
        return found

    def hours(self) -> list[Estimate]:
        if self.told is None:
            return []
        rates, why, _ = self.told
        longest = self.study.score.max_new_tokens
        trained = sum(map(self.num_training_facts, self.runs)) * self.study.tune.num_epochs
        num_restored = sum(self.num_answers[what] for what in ("restoring", "layers", "training"))
        seconds = {
            "probing": self.num_completions * self.study.probe.max_new_tokens / rates.probe,
            "fine-tuning": trained * TOKENS_PER_FACT / rates.train,
            "scoring": self.num_answers["scoring"] * longest / rates.score,
            "scoring restorations": num_restored * longest / rates.score,
        }
        bases = {
            "probing": f"{rates.probe:,.0f} tokens/s ({why}), every completion at its full "
            "length, which few have",
            "fine-tuning": f"{rates.train:,.0f} tokens/s ({why}), {TOKENS_PER_FACT} tokens a fact",
            "scoring": f"{rates.score:,.0f} tokens/s ({why}), every answer at its full length",
            "scoring restorations": f"{rates.score:,.0f} tokens/s ({why}), likewise",
        }
        found = [
            Estimate(f"device hours, {what}", seconds[what] / _HOUR, "hours", bases[what])
            for what in seconds
        ]
        starts = sum(job.kind not in ("world", "facts") for job in self.plan.jobs.values())
        seconds["starts"] = starts * START_SECONDS
        found.append(
            Estimate(
                "device hours, starting jobs",
                seconds["starts"] / _HOUR,
                "hours",
                f"{starts} jobs, {START_SECONDS} s each, assumed",
            )
        )
        if self.size.num_bytes is not None:
            named = [named_method(name) for name in self.study.methods]
            looks = sum(_MATCHING if one.is_matched else 1 for one in named)
            rankings = looks * len(self.plan.of_kind("restore"))
            changes = len(self.plan.of_kind("change")) + self.num_evaluated
            steps = self.num_restorations + self.num_layer_groups * len(self.plan.of_kind("layers"))
            passes = _PASSES * (rankings + changes)
            models = len(self.plan.of_kind("tune")) * 4  # written once, loaded three times
            read = (2 * (passes + steps) + models) * self.size.num_bytes
            seconds["files"] = read / READ_BYTES_PER_SECOND
            found.append(
                Estimate(
                    "device hours, reading and comparing weights",
                    seconds["files"] / _HOUR,
                    "hours",
                    f"{read / _GB:,.0f} GB at {READ_BYTES_PER_SECOND / _GB:g} GB/s, assumed",
                )
            )
        total = sum(seconds.values()) / _HOUR
        found.append(Estimate("device hours in all", total, "hours", "the sum of the above"))
        return found

    def room(self) -> list[Estimate]:
        completions = self.num_completions * _COMPLETION_BYTES / _GB
        found = [
            Estimate(
                "disk, completions",
                completions,
                "GB",
                f"{_COMPLETION_BYTES} bytes a completion, assumed",
            )
        ]
        if self.size.num_bytes is None or self.size.num_parameters is None:
            return found
        whole = [job for job in self.plan.of_kind("tune") if not self.plan.runs[job.name].lora]
        kept = sum(job.keeps_model for job in whole)  # adapters are small
        found.append(
            Estimate(
                "disk, tuned models",
                (kept + 1) * self.size.num_bytes / _GB,
                "GB",
                f"{kept} that stay (keep_models: {self.study.keep_models}) and one a worker, of "
                f"{self.size.num_bytes / _GB:.2f} GB; {self.size.rests_on}",
            )
        )
        found.append(
            Estimate(
                "device memory of fine-tuning, at least",
                TRAINING_BYTES * self.size.num_parameters / _GB,
                "GB",
                f"{TRAINING_BYTES} bytes a parameter (float32 weights, gradients, AdamW), without "
                f"activations; {self.size.rests_on}",
            )
        )
        dtype = self.study.dtype
        found.append(
            Estimate(
                "device memory of scoring, at least",
                DTYPE_BYTES[IN_HEADER[dtype]] * self.size.num_parameters / _GB,
                "GB",
                f"weights in {dtype} (dtype:), without caches; {self.size.rests_on}",
            )
        )
        device = self.study.estimate.device
        if self.study.launch is not None:
            number, why = 1, "launch: gives each training all GPUs"
        else:
            measured = None if self.told is None else self.told.rates.memory
            number = jobs_that_fit(DEVICES[device].memory, self.size.num_parameters, measured)
            why = (
                f"its memory of {DEVICES[device].memory / _GB:g} GB, and what a job takes "
                + ("assumed" if measured is None else "as measured")
                + "; cores are not counted"
            )
        found.append(Estimate(f"jobs at a time, one {device}", number, "jobs", why))
        return found

    def notes(self) -> list[str]:
        notes = [] if self.told is None or self.told.note is None else [self.told.note]
        if self.study.tasks:
            notes.append(
                f"no hours are told for {self.num_on_tasks} models on other tasks, whose length "
                "lm-evaluation-harness knows; harness: {limit: …} shortens them"
            )
        if self.size.num_parameters is None:
            notes.append(
                f"{self.study.base} is not here, so no hours, disk or memory are told; write "
                "estimate: {num_parameters: …} into the study file"
            )
            return notes
        return [*notes, *training_notes(self.study, self.size)]


def _facts(study: StudyFile) -> list[Fact]:
    if study.scale is not None:
        facts = make_world(study.scale.world).facts
    else:
        assert study.facts is not None
        facts = read_facts(study.facts).facts
    return facts if study.unused_facts else [fact for fact in facts if is_used(fact)]


def _num_layers(study: StudyFile) -> int:
    """Decoder blocks, or more than any model has where they are not known."""
    return _MANY_LAYERS if study.scale is None else PRESETS[study.scale.pretrain.preset].num_layers


def _rates(
    study: StudyFile, size: Size, given: Rates | None, calibrated_on: Sequence[Fact] | None
) -> Told | None:
    if calibrated_on is not None:
        if study.base is None:
            raise UserError(
                "--calibrate: the scale model is made by the run, there is no base to measure "
                "yet; leave it out, or give --rates"
            )
        return calibrate(
            study.base, calibrated_on, study.probe, study.tune, study.score, study.dtype
        )
    if given is not None:
        return Told(given, "the given rates")
    if study.estimate.rates is not None:
        return Told(study.estimate.rates, "the study file's rates")
    if size.num_parameters is None:
        return None
    return assumed_rates(
        size.num_parameters, study.estimate.device, study.tune.batch_size, study.dtype
    )
