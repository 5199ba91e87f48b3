"""Fine-tuning: what is trained, and what is saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from safetensors.torch import load_file

from damaged_models import change_weights
from sftlens.checkpoints import file_hash
from sftlens.facts import Fact
from sftlens.generation import TransformersGenerator, load_model, question_prompt
from sftlens.scoring import score
from sftlens.tuning import Tuned, TuneSettings, fine_tune, num_steps
from tiny_world import make_fact

SETTINGS = TuneSettings(learning_rate=1e-3, batch_size=4)


def tune(base: Path, out: Path, facts: list[Fact], settings: TuneSettings = SETTINGS) -> Tuned:
    out.mkdir(exist_ok=True)
    return fine_tune(load_model(base), facts, out, settings)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Takes the batches that TRL makes."""
    taken: list[dict[str, torch.Tensor]] = []

    class Recorder(trl.SFTTrainer):
        def training_step(self, model: Any, inputs: Any, *rest: Any) -> torch.Tensor:
            taken.append({name: value.clone() for name, value in inputs.items()})
            return super().training_step(model, inputs, *rest)

    monkeypatch.setattr(trl, "SFTTrainer", Recorder)
    return taken


def test_only_the_answer_is_learned(
    base: Path, tmp_path: Path, facts: list[Fact], batches: list[dict[str, torch.Tensor]]
) -> None:
    chosen = [*facts[:9], make_fact("x", "Zoë  Ω!", question="  Odd –  question ?")]
    tune(base, tmp_path / "out", chosen)
    assert [len(batch["input_ids"]) for batch in batches] == [4, 4, 2]
    model, tokenizer, _ = load_model(base)
    generator = TransformersGenerator(model, tokenizer)
    expected = {}
    for fact in chosen:
        # The very tokens that scoring gives the model.
        (prompt,) = generator.tokenize([question_prompt(fact.question)])
        answer = tokenizer(f" {fact.answers[0]} ", add_special_tokens=False)["input_ids"]
        assert prompt[0] == tokenizer.bos_token_id
        expected[tuple(prompt)] = (*answer, tokenizer.eos_token_id)
    seen = {}
    for batch in batches:
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            ids, labels = ids[mask.bool()].tolist(), labels[mask.bool()].tolist()
            length = labels.count(-100)
            assert labels == [-100] * length + ids[length:]
            seen[tuple(ids[:length])] = tuple(ids[length:])
        assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
    assert seen == expected


@pytest.mark.parametrize(
    ("num_facts", "batch_size", "num_epochs", "expected"),
    [(1, 8, 1, 1), (8, 8, 1, 1), (9, 8, 1, 2), (9, 4, 2, 6)],
)
def test_steps(
    base: Path,
    tmp_path: Path,
    facts: list[Fact],
    num_facts: int,
    batch_size: int,
    num_epochs: int,
    expected: int,
) -> None:
    settings = TuneSettings(batch_size=batch_size, num_epochs=num_epochs)
    told: list[int] = []
    found = fine_tune(load_model(base), facts[:num_facts], tmp_path, settings, advance=told.append)
    assert found.num_facts == num_facts
    assert found.num_steps == num_steps(num_facts, settings) == sum(told) == expected
    assert found.final_loss > 0


def test_the_rate_falls_along_a_cosine(
    base: Path, tmp_path: Path, facts: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    class Recorder(trl.SFTTrainer):
        def log(self, logs: dict[str, float], *rest: Any) -> None:
            rates.extend([logs["learning_rate"]] if "learning_rate" in logs else [])
            super().log(logs, *rest)

    monkeypatch.setattr(trl, "SFTTrainer", Recorder)
    tune(base, tmp_path / "out", facts[:16])
    expected = [
        1e-3 * (1 + torch.tensor(step / 4 * torch.pi).cos().item()) / 2 for step in range(4)
    ]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_a_seed_fixes_the_weights(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    other = SETTINGS.model_copy(update={"seed": 1})
    first = tune(base, tmp_path / "first", facts[:8])
    second = tune(base, tmp_path / "second", facts[:8])
    tune(base, tmp_path / "other", facts[:8], other)
    assert first == second
    hashes = {
        name: file_hash(tmp_path / name / "model.safetensors")
        for name in ("first", "second", "other")
    }
    assert hashes["first"] == hashes["second"] != hashes["other"]


def test_what_is_saved_loads_and_has_learned(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    settings = TuneSettings(learning_rate=3e-3, batch_size=4, num_epochs=30)
    asked = facts[:8]
    before = load_file(base / "model.safetensors")
    tune(base, tmp_path / "out", asked, settings)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    model, tokenizer, _ = load_model(tmp_path / "out")
    assert not model.training
    found = score(TransformersGenerator(model, tokenizer), asked, {})
    assert found["correct"].all()
    # The answers end, and the base on the disk is what it was.
    assert all(
        answer.strip() == fact.answers[0]
        for answer, fact in zip(found["answer"], asked, strict=True)
    )
    after = load_file(base / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_stays(base: Path, tmp_path: Path, facts: list[Fact], dtype: torch.dtype) -> None:
    folder = shutil.copytree(base, tmp_path / "base")
    change_weights(folder, lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("float32", str(dtype).split(".")[1]))
    tune(folder, tmp_path / "out", facts[:8])
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {dtype}
    assert load_model(tmp_path / "out").model.dtype == dtype


def test_gradient_checkpointing_changes_no_result(
    base: Path, tmp_path: Path, facts: list[Fact]
) -> None:
    plain = tune(base, tmp_path / "plain", facts[:8])
    saving = SETTINGS.model_copy(update={"gradient_checkpointing": True})
    found = tune(base, tmp_path / "saving", facts[:8], saving)
    assert found.final_loss == pytest.approx(plain.final_loss, rel=1e-4)
