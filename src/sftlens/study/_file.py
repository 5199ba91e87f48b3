"""The study file: what a study varies and measures, in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    field_validator,
    model_validator,
)

from sftlens.errors import UserError
from sftlens.mastery import NUM_LEVELS, ProbeSettings
from sftlens.scoring import HarnessSettings, ScoreSettings
from sftlens.storage_types import StorageType
from sftlens.study._checked import checked_settings, read_keys
from sftlens.study._harness_tasks import is_task_file
from sftlens.study._launch import read_launch
from sftlens.study._methods import named_method
from sftlens.study._rates import Device, Rates
from sftlens.tuning import LoraSettings, TuneSettings
from sftlens.weights import PAPER_SHARES, Request
from sftlens.world import PretrainSettings, WorldSettings

ALL: Final = "all"
Strategy = Literal["by-level", "mixed", "lora"]


def _size(value: object) -> object:
    if value == ALL or (type(value) is int and 1 <= value < 2**31):
        return value
    raise ValueError(f"write a number of facts from 1 to {2**31 - 1}, or all")


Size = Annotated[int | Literal["all"], PlainValidator(_size)]
Level = Annotated[int, Field(ge=0, lt=NUM_LEVELS)]


class ScaleSettings(BaseModel):
    """A base model that is made for the study: a scale model, pre-trained on an invented world."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    world: WorldSettings = WorldSettings()
    pretrain: PretrainSettings = PretrainSettings()


class EstimateSettings(BaseModel):
    """What `sftlens study plan` goes by where it cannot measure; no result depends on it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_parameters: int | None = Field(
        None, ge=1, le=10**15, description="of a base that is not here yet"
    )
    level_sizes: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] | None = Field(
        None,
        min_length=NUM_LEVELS,
        max_length=NUM_LEVELS,
        description="training facts of level 0 to 4, where they are known before the probe",
    )
    device: Device = Field("h100", description="what the study will run on")
    rates: Rates | None = Field(None, description="measured rates, instead of assumed ones")


class StudyFile(BaseModel):
    """A grid of training runs, their scores and divergences, and restorations of some of them.

    The base is a model folder or hub id with facts of one's own (``base``, ``facts``), or a scale
    model with the facts of its world (``scale``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: str | None = Field(None, min_length=1, description="base model: folder or hub id")
    scale: ScaleSettings | None = Field(None, description="a base model made for the study")
    facts: str | None = Field(
        None, min_length=1, description="facts file, world folder or NAME:PATH"
    )
    unused_facts: bool = Field(
        False, description="probe also facts that are neither trained on nor scored"
    )
    out: Path | None = Field(None, description="the run folder")
    quick: bool = Field(False, description="too small to show effects, which the report tells")
    strategies: tuple[Strategy, ...] = Field(
        ("by-level",),
        min_length=1,
        description="facts of one level; of all levels together; LoRA on facts of one level, "
        "at the restored sizes alone",
    )
    instruct: str | None = Field(
        None,
        min_length=1,
        description="the base's published instruct model, folder or hub id; it is scored alone, "
        "with the prompt of the others",
    )
    levels: tuple[Level, ...] = Field((0, 1, 2, 3, 4), description="mastery levels trained on")
    sizes: tuple[Size, ...] = Field(
        (60, 240, 1920), min_length=1, max_length=100, description="training facts"
    )
    seeds: int = Field(5, ge=1, le=1_000, description="training sets of each level and size")
    shares: tuple[float, ...] = Field(
        PAPER_SHARES, max_length=1_000, description="percent of the parameters that is restored"
    )
    methods: tuple[str, ...] = Field(
        ("relative", "relative-bottom", "absolute", "random", "small-base", "interpolation"),
        description="methods of `sftlens restore`; -bottom after a ranking is its other end, and "
        "-matched after a method its strength that removes as much norm as relative. Without it "
        "relative and all its controls",
    )
    layer_groups: int = Field(
        8,
        ge=0,
        le=10_000,
        description="groups of consecutive layers that are given back whole, one at a time; at "
        "most one for each layer, and 0 leaves it out",
    )
    restored_sizes: tuple[Size, ...] | None = Field(
        None, description="sizes whose models are restored; without it the largest"
    )
    keep_models: Literal["all", "largest", "none"] = Field(
        "largest", description="tuned models that stay; largest: those of the first seed"
    )
    dtype: StorageType = Field(
        "float32",
        description="type that base, tuned and restored models are asked in, whatever they are "
        "stored in; in bfloat16 rounding decides what an interpolation removes",
    )
    threads: int = Field(
        1,
        ge=1,
        le=1_024,
        description="CPU threads of each job, however many jobs run at a time; the last bits of "
        "sums depend on it. Pre-training and the probe, which all others wait for, take all cores",
    )
    launch: Path | None = Field(
        None,
        description="configuration of `accelerate launch` that the training of all weights goes "
        "through, for models that one GPU cannot train; of one machine; relative to the study file "
        "or the working folder. LoRA trains in one process, on one GPU, all the same",
    )
    tasks: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="tasks of lm-evaluation-harness, or YAML files of one's own (relative to the "
        "study file or the working folder), for the base, the first tuned model of each level and "
        "restored size, and its restorations",
    )
    probe: ProbeSettings = ProbeSettings()
    tune: TuneSettings = TuneSettings()
    lora: LoraSettings = LoraSettings()
    harness: HarnessSettings = HarnessSettings()
    score: ScoreSettings = ScoreSettings()
    estimate: EstimateSettings = EstimateSettings()

    @field_validator("strategies", "levels", "sizes", "methods", "restored_sizes", "tasks")
    @classmethod
    def _each_once(cls, values: tuple[object, ...] | None) -> tuple[object, ...] | None:
        for value in values or ():
            if (values or ()).count(value) > 1:
                raise ValueError(f"{value} is given twice; give each once")
        return values

    @field_validator("shares")
    @classmethod
    def _known_shares(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        return Request("relative", shares).checked().shares

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for method in methods:
            named_method(method)
        return methods

    @field_validator("tune")
    @classmethod
    def _without_seed(cls, tune: TuneSettings) -> TuneSettings:
        if "seed" in tune.model_fields_set:
            raise ValueError("seed has no effect, each run has its own; write seeds: instead")
        return tune

    @model_validator(mode="after")
    def _fits_together(self) -> StudyFile:
        if (self.base is None) == (self.scale is None):
            raise ValueError("give either base: (a folder or hub id) or scale:")
        if (self.facts is None) == (self.scale is None):
            raise ValueError("facts: goes with base:, and scale: brings its own")
        of_levels = [name for name in ("by-level", "lora") if name in self.strategies]
        if of_levels and not self.levels:
            left_out = " and ".join(of_levels)
            raise ValueError(f"levels: is empty; name one, or leave {left_out} out of strategies:")
        if self.tune.method.name == "early-stop" and not self.unused_facts:
            raise ValueError("early-stop watches validation facts; write unused_facts: true")
        if self.tune.method.name != "sft" and "lora" in self.strategies:
            raise ValueError("tune.method: is for all weights; leave lora out of strategies:")
        if self.tune.method.name != "sft" and self.launch is not None:
            raise ValueError("launch: trains by method sft alone; leave tune.method out")
        strangers = set(self.restored_sizes or ()) - set(self.sizes)
        if strangers:
            raise ValueError(f"restored_sizes: {strangers.pop()} is none of the sizes:")
        return self

    @property
    def largest(self) -> int | Literal["all"]:
        """The largest size; of numbers and ``all`` the largest number, which means the same for
        every level.
        """
        numbers = [size for size in self.sizes if isinstance(size, int)]
        return max(numbers) if numbers else ALL

    @property
    def sizes_to_restore(self) -> tuple[int | Literal["all"], ...]:
        return (self.largest,) if self.restored_sizes is None else self.restored_sizes


class Run(NamedTuple):
    """One training run of a study."""

    level: int | None  # None where facts of all levels are mixed
    size: int | Literal["all"]
    seed: int
    lora: bool = False  # whether an adapter is trained, and not the weights

    @property
    def strategy(self) -> Strategy:
        if self.lora:
            return "lora"
        return "mixed" if self.level is None else "by-level"

    @property
    def name(self) -> str:
        kind = "mixed" if self.level is None else f"level{self.level}"
        size = self.size if self.size == ALL else f"size{self.size}"
        return f"{'lora-' if self.lora else ''}{kind}-{size}-seed{self.seed}"


def training_runs(study: StudyFile) -> list[Run]:
    """The runs of a study, by size, level and seed; of a size mixed levels come after single ones,
    and LoRA last.
    """
    by_level = study.levels if "by-level" in study.strategies else ()
    levels = (*by_level, *([None] if "mixed" in study.strategies else []))
    adapted = study.levels if "lora" in study.strategies else ()
    runs = []
    for size in study.sizes:
        ways: list[tuple[int | None, bool]] = [(level, False) for level in levels]
        if size in study.sizes_to_restore:
            ways += [(level, True) for level in adapted]
        runs += [Run(level, size, n, lora) for level, lora in ways for n in range(study.seeds)]
    return runs


def load_study(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        UserError: when it is absent, no YAML, or no study, or its configuration of `accelerate
            launch` is unusable; file and key are named.
    """
    content = read_keys(path, "base:, facts: and what to vary")
    study = checked_settings(StudyFile, content, str(path))
    found: dict[str, Any] = {}
    if study.tasks:
        found["tasks"] = tuple(
            str(_found(path, entry) or entry) if is_task_file(entry) else entry
            for entry in study.tasks
        )
    if study.launch is not None:
        launch = _found(path, study.launch)
        if launch is None:
            raise UserError(
                f"{path}: launch: {study.launch} does not exist; give a file that `accelerate "
                "config` wrote, or one of studies/accelerate"
            )
        read_launch(launch)
        found["launch"] = launch
    return study.model_copy(update=found)


def _found(study: Path, name: str | Path) -> Path | None:
    """A file that a study file names, relative to it or to the working folder."""
    for place in (study.parent / name, Path(name)):
        if place.is_file():
            return place.absolute()
    return None


def load_rates(path: Path) -> Rates:
    """Read and check a file of measured rates.

    Raises:
        UserError: as :func:`load_study`.
    """
    return checked_settings(Rates, read_keys(path, "probe:, train: and score:"), str(path))
