"""Knowledge watched while a Trainer trains."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import trl
from accelerate import DeepSpeedPlugin
from accelerate.utils import DistributedType
from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from launched import fsdp_config
from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import (
    TransformersGenerator,
    answer_completion,
    load_model,
    question_prompt,
)
from sftlens.mastery import Mastery
from sftlens.scoring import score
from sftlens.tuning import KnowledgeCallback
from sftlens.tuning._knowledge import _require_whole

Make = Callable[..., tuple[Any, KnowledgeCallback]]


@pytest.fixture
def make(base: Path, facts: list[Fact], mastery: Mastery, tmp_path: Path) -> Make:
    """Makes an SFT trainer of 16 facts, 8 steps, with dropout, and the callback."""

    def made(watch: dict[str, Any] | None = None, **changes: Any) -> tuple[Any, KnowledgeCallback]:
        wrap = changes.pop("wrap", lambda model: model)
        model, tokenizer, _ = load_model(base)
        model.config.attention_dropout = 0.2
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.2
        trained = [fact for fact in facts if fact.split == "train"][:16]
        rows = [
            {"prompt": question_prompt(f.question), "completion": answer_completion(f)}
            for f in trained
        ]
        given = {
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 2,
            "num_train_epochs": 1,
            "learning_rate": 3e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "bf16": False,
            "gradient_checkpointing": False,
            **changes,
        }
        trainer = trl.SFTTrainer(
            model=wrap(model),
            args=trl.SFTConfig(**given),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        tested = [fact for fact in facts if fact.split == "test"]
        options = {"every": 3, "num_facts": 20, "max_fraction": 1.0, **(watch or {})}
        levels = options.pop("levels", mastery.levels)
        return trainer, KnowledgeCallback(trainer, tested, levels, **options)

    return made


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "changes",
    [{}, {"bf16": True}, {"gradient_checkpointing": True}, {"gradient_accumulation_steps": 2}],
    ids=str,
)
def test_watching_changes_nothing(make: Make, changes: dict[str, Any]) -> None:
    plain, _ = make(**changes)
    plain.train()
    watched, callback = make(**changes)
    watched.add_callback(callback)
    watched.train()
    before, after = state_of(plain.model), state_of(watched.model)
    assert all(torch.equal(before[name], after[name]) for name in before)

    def logged(trainer: Any) -> list[dict[str, float]]:
        return [row for row in trainer.state.log_history if "loss" in row]

    assert logged(watched) == logged(plain) != []
    last = plain.state.global_step
    assert [one.step for one in callback.history] == [0, *range(3, last, 3), last]


def test_the_values_are_those_of_scoring(
    make: Make, base: Path, facts: list[Fact], mastery: Mastery
) -> None:
    trainer, callback = make({"num_facts": 1000})
    trainer.add_callback(callback)
    trainer.train()
    first, *_, last = callback.history
    assert (first.step, first.kl) == (0, pytest.approx(0, abs=1e-9))
    assert first.forgotten in (0, None)
    asked = [fact for fact in facts if fact.split == "test"]
    tables = [
        score(TransformersGenerator(model.eval(), trainer.processing_class), asked, mastery.levels)
        for model in (load_model(base).model, trainer.model)
    ]
    before, after = (table.sort("fact_id")["correct"].to_numpy() for table in tables)
    if before.any():
        assert last.forgotten == pytest.approx((before & ~after).sum() / before.sum())
    for level, value in enumerate(last.levels):
        part = tables[1].filter(level=level)["correct"]
        assert value == (None if part.is_empty() else pytest.approx(part.mean()))
    present = [value for value in last.levels if value is not None]
    assert last.accuracy == pytest.approx(sum(present) / len(present))
    assert last.kl > 0
    assert last.accuracy > first.accuracy


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Stands where TensorBoard, W&B and MLflow stand: before the user's callbacks."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.told.append((state.global_step, dict(logs)))


def test_reporters_and_the_history_get_the_values(make: Make) -> None:
    trainer, callback = make()
    reporter = Reporter()
    trainer.add_callback(reporter)
    trainer.add_callback(callback)
    trainer.train()
    told = [(step, logs) for step, logs in reporter.told if "knowledge/accuracy" in logs]
    assert [step for step, _ in told] == [one.step for one in callback.history]
    for (_, logs), one in zip(told, callback.history, strict=True):
        assert logs["knowledge/accuracy"] == one.accuracy
        assert logs["knowledge/kl"] == one.kl
        assert logs["knowledge/seconds"] == one.seconds
        assert all(isinstance(value, float | int) for value in logs.values())
        for level, value in enumerate(one.levels):
            assert logs.get(f"knowledge/accuracy_level_{level}") == value
    kept = [row for row in trainer.state.log_history if "knowledge/accuracy" in row]
    assert [row["step"] for row in kept] == [one.step for one in callback.history]


def test_the_plain_trainer_and_no_levels(make: Make, tmp_path: Path) -> None:
    trl_trainer, _ = make()
    tokenizer = trl_trainer.processing_class
    rows = [{"input_ids": [1, 5, 6, 7], "labels": [1, 5, 6, 7]} for _ in range(4)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "plain"), use_cpu=True, report_to="none", disable_tqdm=True
    )
    trainer = Trainer(
        model=trl_trainer.model, args=arguments, train_dataset=Dataset.from_list(rows)
    )
    _, other = make({"levels": None, "tokenizer": tokenizer})
    other._trainer = trainer
    trainer.add_callback(other)
    trainer.train()
    assert [one.step for one in other.history] == [0, 3]
    assert all(one.levels == [None] * 5 for one in other.history)


def test_modes_are_kept(make: Make) -> None:
    trainer, callback = make()
    model = trainer.model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    callback._watch.answers(model, trainer.processing_class)
    callback._watch.first_token_logits(model, trainer.processing_class)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(RuntimeError, match="fails"):
        callback._watch.answers(model, Failing(trainer.processing_class))
    assert [module.training for module in model.modules()] == modes


class Failing:
    """A tokenizer that cannot be called."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("it fails")


def test_an_adapter_is_watched_as_it_answers(make: Make) -> None:
    config = peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer, callback = make(
        {"num_facts": 1000},
        wrap=lambda model: peft.get_peft_model(model, config),
        num_train_epochs=3,
    )
    trainer.add_callback(callback)
    trainer.train()
    assert callback.history[0].kl == pytest.approx(0, abs=1e-9)
    assert callback.history[-1].kl > 0
    correct = callback._watch.answers(trainer.model, trainer.processing_class)
    merged = trainer.model.merge_and_unload().eval()
    facts = callback._watch.facts
    found = score(TransformersGenerator(merged, trainer.processing_class), facts, {})["correct"]
    assert sum(a != b for a, b in zip(found, correct, strict=True)) <= 1  # of rounding
    assert sum(correct) > 0


def test_a_learnt_prompt_is_refused(make: Make) -> None:
    config = peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    trainer, callback = make(wrap=lambda model: peft.get_peft_model(model, config))
    trainer.add_callback(callback)
    with pytest.raises(UserError, match="learnt prompt"):
        trainer.train()


@pytest.mark.parametrize(("stage", "refused"), [(2, False), (3, True)])
def test_deepspeed_is_refused_where_it_shards_the_parameters(
    make: Make, monkeypatch: pytest.MonkeyPatch, stage: int, refused: bool
) -> None:
    """With accelerate's own plugin, in the place where a launch under DeepSpeed puts it."""
    trainer, callback = make()
    state, plugin = trainer.accelerator.state, DeepSpeedPlugin(zero_stage=stage)
    monkeypatch.setattr(state, "deepspeed_plugins", plugin)
    monkeypatch.setattr(state, "distributed_type", DistributedType.DEEPSPEED)
    assert state.deepspeed_plugin is plugin
    if not refused:
        _require_whole(trainer)
        return
    with pytest.raises(
        UserError, match=r"in shards \(DeepSpeed ZeRO 3\) cannot.*leave the callback"
    ):
        callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)
    assert callback.history == []


def test_training_stops_when_too_much_is_forgotten(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, callback = make({"every": 1, "max_forgotten": 0.5})
    answers = iter([[True] * 4 + [False] * 16, [True] * 2 + [False] * 18, [True] + [False] * 19])
    monkeypatch.setattr(callback._watch, "answers", lambda *_: next(answers))
    trainer.add_callback(callback)
    trainer.train()
    assert [one.forgotten for one in callback.history] == [0, 0.5, 0.75]
    assert trainer.state.global_step == 2
    told = capsys.readouterr().err
    assert "step 2: 75.0 % of the known facts are forgotten, more than 50 %: training stops" in told
    assert "knowledge: 3 evaluations of 20 facts" in told


def test_evaluations_stay_within_their_share_of_the_time(make: Make) -> None:
    """By a clock on which an evaluation takes 10 s and a step 10 s."""
    trainer, callback = make({"every": 1, "max_fraction": 0.25})
    now = 0.0

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            nonlocal now
            now += 10

    real = callback._watch.answers

    def slow(*given: Any) -> list[bool]:
        nonlocal now
        now += 10
        return real(*given)

    callback._clock = lambda: now
    callback._watch.answers = slow  # type: ignore[method-assign]
    trainer.add_callback(callback)
    trainer.add_callback(Steps())
    trainer.train()
    # At step 6, 70 s have passed: 20 s of 80 s are a quarter.
    assert [one.step for one in callback.history] == [0, 6]
    assert callback.num_skipped == 7
    rows = [row for row in trainer.state.log_history if "knowledge/seconds" in row]
    assert [row["knowledge/seconds"] for row in rows] == [10, 10]
    assert rows[-1]["knowledge/time_fraction"] == 0.25


@pytest.mark.parametrize(
    ("option", "value"),
    [("every", 0), ("max_fraction", 0.0), ("max_fraction", 1.5), ("max_forgotten", -0.1)],
)
def test_limits_out_of_their_range_are_refused(make: Make, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        make({option: value})


def test_the_sample_is_seeded_and_balanced(make: Make, mastery: Mastery) -> None:
    one, two, other = (make({"seed": seed})[1]._watch.facts for seed in (0, 0, 1))
    assert one == two != other
    counts = [sum(mastery.levels[f.fact_id] == level for f in one) for level in range(5)]
    assert sum(counts) == len(one) == 20
    assert min(count for count in counts if count) > 0


def test_facts_without_any_level_are_refused(make: Make) -> None:
    with pytest.raises(UserError, match="no fact to watch"):
        make({"levels": {"another": 1}})


TWO_PROCESSES = """
import sys
import torch
from datasets import Dataset
from pathlib import Path
from trl import SFTConfig, SFTTrainer
from sftlens.facts import read_facts
from sftlens.generation import answer_completion, load_model, question_prompt
from sftlens.tuning import KnowledgeCallback

base, world, out, watched = sys.argv[1:]
model, tokenizer, _ = load_model(base)
facts = read_facts(world).facts
rows = [{"prompt": question_prompt(f.question), "completion": answer_completion(f)}
        for f in facts if f.split == "train"][:16]
arguments = SFTConfig(output_dir=out, per_device_train_batch_size=2, num_train_epochs=1,
                      learning_rate=3e-3, logging_steps=1, save_strategy="no", report_to="none",
                      use_cpu=True, disable_tqdm=True, bf16=False, gradient_checkpointing=False)
trainer = SFTTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows),
                     processing_class=tokenizer)
callback = KnowledgeCallback(trainer, facts, every=2, num_facts=10, max_fraction=0.9)
if watched == "yes":
    trainer.add_callback(callback)
trainer.train()
rank = arguments.process_index
torch.save([trainer.model.state_dict(), [tuple(one) for one in callback.history]],
           Path(out) / f"{watched}-{rank}.pt")
"""


def test_two_processes_agree(base: Path, world: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(TWO_PROCESSES))
    found = {}
    for watched in ("no", "yes"):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", str(script)]
        command += [str(base), str(world), str(tmp_path), watched]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        for rank in (0, 1):
            found[watched, rank] = torch.load(tmp_path / f"{watched}-{rank}.pt")
    plain, watched_first, watched_second = (
        found[key] for key in (("no", 0), ("yes", 0), ("yes", 1))
    )
    for name, value in plain[0].items():
        assert torch.equal(value, watched_first[0][name])
        assert torch.equal(value, watched_second[0][name])
    assert watched_first[1] == watched_second[1] != []


SHARDED = """
import sys
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from sftlens.facts import read_facts
from sftlens.generation import load_model
from sftlens.tuning import KnowledgeCallback
from sftlens.tuning._distributed import shard_on_cpus

base, world, out = sys.argv[1:]
model, tokenizer, _ = load_model(base)
arguments = TrainingArguments(output_dir=out, max_steps=1, report_to="none", use_cpu=True)
shard_on_cpus()
rows = Dataset.from_list([{"input_ids": [1, 5, 6, 7], "labels": [1, 5, 6, 7]}] * 4)
trainer = Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
trainer.add_callback(KnowledgeCallback(trainer, read_facts(world).facts, num_facts=10))
trainer.train()
"""


def test_fsdp_is_refused(base: Path, world: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SHARDED)
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--config_file", str(fsdp_config(tmp_path)), str(script)]
    command += [str(base), str(world), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "UserError: a model in shards (FSDP) cannot be watched" in done.stderr
