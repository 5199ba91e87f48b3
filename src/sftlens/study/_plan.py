"""From a study to its jobs, keyed by what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sftlens.generation import question_prompt
from sftlens.manifest import content_key
from sftlens.study._file import Run, StudyFile, training_runs
from sftlens.study._harness_tasks import NamedTask, place_of
from sftlens.study._methods import named_method

Kind = Literal[
    "world",
    "base",
    "facts",
    "probe",
    "outlook",
    "tune",
    "score",
    "divergence",
    "change",
    "restore",
    "base-score",
    "noise",
    "layers",
    "tasks",
]
INSTRUCT = "instruct"
BASE = "base"
_FORMATS: Mapping[Kind, int] = {"restore": 2, "change": 2}
"""Of the jobs' results, 1 where nothing else is said; a new number makes them anew."""

_ALONE: tuple[Kind, ...] = ("base", "probe")
"""Long jobs that all others wait for, so that every core is theirs."""

_WITHOUT_SUMS: tuple[Kind, ...] = ("world", "facts")

NOISE_BATCH_TOKENS = 1024
"""Tokens of a batch when a model is asked again: a small part of what it takes otherwise."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work, whose result depends on its settings and inputs alone."""

    kind: Kind
    name: str
    """Unique within the study."""
    settings: Mapping[str, Any]
    """Everything the result depends on beside the inputs; JSON-able."""
    inputs: Mapping[str, str]
    """Names of the jobs whose results it takes, by the role that they have in it."""
    key: str
    """Stands for the settings and the keys of the inputs."""
    threads: int | None = 1
    """Of its arithmetic on CPUs; None for all cores of the machine."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where things lie on this machine; the key does not depend on it."""
    keeps_model: bool = True
    """Whether the model it makes stays when no job needs it any more."""


class Sources(NamedTuple):
    """What a study starts from, as it was found on this machine.

    Attributes:
        base: what identifies the base model; None for a scale model.
        base_folder: where it lies; None where it was not looked for.
        facts: what identifies the facts.
        facts_source: as :func:`sftlens.facts.read_facts` takes it.
        instruct: what identifies the instruct model, where there is one.
        instruct_folder: where it lies.
        tasks: the other tasks.
    """

    base: Mapping[str, str] | None = None
    base_folder: str | None = None
    facts: str | None = None
    facts_source: str | None = None
    instruct: Mapping[str, str] | None = None
    instruct_folder: str | None = None
    tasks: tuple[NamedTask, ...] = ()


class Plan:
    """The jobs of a study, each after its inputs; made by :func:`make_plan`.

    Args:
        threads: of each job but those that all others wait for.

    Attributes:
        jobs: by name. The jobs of one run stand together, so that its model can go early.
        runs: the training runs, by the name of the job that tunes.
    """

    def __init__(self, threads: int = 1) -> None:
        self.jobs: dict[str, Job] = {}
        self.runs: dict[str, Run] = {}
        self._threads = threads

    def add(
        self,
        kind: Kind,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        *,
        run: Run | None = None,
        model: str | None = None,
        places: Mapping[str, str] | None = None,
        keeps_model: bool = True,
    ) -> str:
        """Add a job, of a run's model or another one; gives its name."""
        of = model if run is None else run.name
        name = kind if of is None else f"{kind} {of}"
        keys = {role: self.jobs[needed].key for role, needed in inputs.items()}
        told = {"format": _FORMATS.get(kind, 1), "kind": kind, "settings": settings, "inputs": keys}
        threads = None if kind in _ALONE else 1 if kind in _WITHOUT_SUMS else self._threads
        if threads not in (None, 1):
            told["threads"] = threads
        self.jobs[name] = Job(
            kind=kind,
            name=name,
            settings=settings,
            inputs=inputs,
            key=content_key(told),
            threads=threads,
            places=places or {},
            keeps_model=keeps_model,
        )
        return name

    def of_kind(self, kind: Kind) -> list[Job]:
        """The jobs of one kind, in their order."""
        return [job for job in self.jobs.values() if job.kind == kind]


def make_plan(study: StudyFile, sources: Sources) -> Plan:
    """The jobs of a study.

    Args:
        study: what to vary and measure.
        sources: what it starts from.
    """
    plan = Plan(study.threads)
    chosen = {"unused_facts": study.unused_facts}
    if study.scale is not None:
        world = plan.add("world", study.scale.world.model_dump(mode="json"), {})
        pretrain = study.scale.pretrain.model_dump(mode="json")
        recipe = {"pretrain": pretrain, "markers": [question_prompt("")]}
        base = {"base": plan.add("base", recipe, {"world": world})}
        identity: dict[str, Any] = {}
        at: dict[str, str] = {}
        facts = plan.add("facts", chosen, {"world": world})
    else:
        base, identity = {}, {"base": sources.base}
        at = {"base": sources.base_folder or ""}
        places = {"facts": sources.facts_source or ""}
        facts = plan.add("facts", {"facts": sources.facts, **chosen}, {}, places=places)
    settings = {"probe": study.probe.model_dump(mode="json"), **identity}
    probe = plan.add("probe", settings, {"facts": facts, **base}, places=at)
    graded = {"facts": facts, "probe": probe}
    outlook = plan.add("outlook", identity, {**graded, **base}, places=at)
    evaluated_in = {"dtype": study.dtype}
    score = {"score": study.score.model_dump(mode="json"), **evaluated_in}
    plan.add("base-score", {**identity, **score}, {**graded, **base}, places=at)
    launch = {} if study.launch is None else {"launch": str(study.launch.absolute())}
    if study.instruct is not None:
        told = {"run": INSTRUCT, **score, INSTRUCT: sources.instruct}
        where = {INSTRUCT: sources.instruct_folder or ""}
        plan.add("score", told, graded, model=INSTRUCT, places=where)
    tasks = {
        "tasks": [(task.name, task.identity) for task in sources.tasks],
        "harness": study.harness.model_dump(mode="json"),
        **evaluated_in,
        **identity,
    }
    own = {place_of(task.name): task.folder for task in sources.tasks if task.folder is not None}
    tasks_at = {**at, **own}
    if study.tasks:
        plan.add("tasks", {"model": BASE, **tasks}, base, model=BASE, places=tasks_at)
    lora = study.lora.model_dump(mode="json")
    for run in training_runs(study):
        tune = study.tune.model_copy(update={"seed": run.seed}).model_dump(mode="json")
        training = {"level": run.level, "size": run.size, "seed": run.seed}
        recipe = {"tune": tune, **({"lora": lora} if run.lora else {})}
        tuned = plan.add(
            "tune",
            {**training, **recipe, **identity},
            {**graded, **base},
            run=run,
            places={**at, **launch},
            keeps_model=_keeps_model(study, run),
        )
        plan.runs[tuned] = run
        asked = {"run": run.name, **score}
        inputs = {"tuned": tuned, **graded, **(base if run.lora else {})}
        scored = plan.add("score", asked, inputs, run=run, places=at)
        if run.strategy != "by-level":
            continue
        plan.add(
            "divergence",
            {"run": run.name},
            {"tuned": tuned, "outlook": outlook, "facts": facts},
            run=run,
        )
        if run.size not in study.sizes_to_restore:
            continue
        change = {"run": run.name, "shares": list(study.shares), **identity}
        plan.add("change", change, {"tuned": tuned, **base}, run=run, places=at)
        if run.seed == 0:
            again = {**asked, "max_batch_tokens": NOISE_BATCH_TOKENS}
            plan.add("noise", again, {"tuned": tuned, "score": scored, **graded}, run=run)
        if study.layer_groups:
            layers = {**asked, "layer_groups": study.layer_groups, **identity}
            plan.add("layers", layers, {"tuned": tuned, **graded, **base}, run=run, places=at)
        if study.methods:
            restore = {**change, **score, "methods": list(study.methods), "seed": run.seed}
            inputs = {"tuned": tuned, **graded, **base}
            plan.add("restore", restore, inputs, run=run, places=at)
        if study.tasks and run.seed == 0:
            evaluated = {"model": run.name, "shares": list(study.shares), **tasks}
            if matched := [name for name in study.methods if named_method(name).is_matched]:
                evaluated |= {"methods": matched, "seed": run.seed}
            plan.add("tasks", evaluated, {"tuned": tuned, **base}, run=run, places=tasks_at)
    return plan


def _keeps_model(study: StudyFile, run: Run) -> bool:
    if study.keep_models == "largest":
        return run.seed == 0 and run.size == study.largest
    return study.keep_models == "all"
