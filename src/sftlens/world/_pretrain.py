"""Pre-training of a scale model on a world's corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sftlens.errors import UserError
from sftlens.manifest import content_key, file_hash, write_manifest
from sftlens.outputs import new_folder, work_folder
from sftlens.progress import Advance, quiet_libraries, silent
from sftlens.world._encyclopedia import CORPUS
from sftlens.world._scale_model import MAX_LENGTH, PRESETS, Preset, make_model, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COMPLETE = "complete"


class PretrainSettings(BaseModel):
    """How a scale model is pre-trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = Field("tiny", description="size: tiny 2.6 M, small 15.5 M, medium 97.5 M")
    num_epochs: int = Field(4, ge=1, description="passes over the corpus")
    batch_size: int = Field(64, ge=1, description="texts a step")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the cosine schedule")
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    save_every: int = Field(200, ge=1, description="steps between resume points")
    seed: int = Field(0, ge=0, description="of the weights and the order of the texts")


class Pretrained(NamedTuple):
    """What pre-training did."""

    num_parameters: int
    num_steps: int
    final_loss: float


def pretrain(
    world: Path,
    out: Path,
    settings: PretrainSettings | None = None,
    *,
    markers: Sequence[str] = (),
    advance: Advance = silent,
) -> Pretrained:
    """Train a scale model on a world folder and save it as an ordinary Hugging Face folder.

    One text is one sequence: BOS, the text, EOS. On CUDA the arithmetic is bfloat16, elsewhere
    float32. Interrupted, the same call goes on from the last resume point and ends with the same
    weights.

    Args:
        world: a folder that ``sftlens world`` wrote.
        out: the model folder; must be absent or empty.
        settings: see :class:`PretrainSettings`.
        markers: texts that prompts will hold though the corpus does not; the BPE learns to spell
            them shortly.
        advance: told after each step; there are ``num_pretrain_steps`` of them.

    Raises:
        UserError: when ``world`` is no world folder, or ``out`` holds something.
    """
    from datasets import Dataset
    from transformers import (
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    settings = settings or PretrainSettings()
    texts = read_corpus(world)
    config = {
        "corpus": file_hash(world / CORPUS),
        "markers": list(markers),
        "settings": settings.model_dump(mode="json"),
    }
    num_steps = num_pretrain_steps(len(texts), settings)
    work = work_folder(out, "pretrain", content_key(config))
    with new_folder(out, work=work) as folder, quiet_libraries():
        shape = PRESETS[settings.preset]
        tokenizer = train_tokenizer([*texts, *list(markers) * 100], shape.vocab_size)
        model = make_model(settings.preset, tokenizer, settings.seed)
        resume = folder / "resume"
        arguments = TrainingArguments(
            output_dir=str(resume),
            num_train_epochs=settings.num_epochs,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_ratio,
            weight_decay=settings.weight_decay,
            lr_scheduler_type="cosine",
            train_sampling_strategy="group_by_length",
            length_column_name="length",
            save_steps=settings.save_every,
            save_total_limit=2,
            logging_steps=min(50, max(1, num_steps // 4)),
            seed=settings.seed,
            bf16=_on_cuda(),
            dataloader_pin_memory=_on_cuda(),
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(_tokenize(texts, tokenizer)),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
            callbacks=[_resume_callback(advance)],
        )
        trainer.remove_callback(PrinterCallback)
        checkpoint = _last_complete(resume)
        result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        shutil.rmtree(resume, ignore_errors=True)
        pretrained = Pretrained(
            num_parameters=model.num_parameters(),
            num_steps=result.global_step,
            final_loss=_last_loss(trainer.state.log_history),
        )
        write_manifest(folder, stage="pretrain", config=config, result=pretrained._asdict())
    return pretrained


def num_pretrain_steps(num_texts: int, settings: PretrainSettings) -> int:
    """Optimiser steps of a whole pre-training on one device."""
    return -(-num_texts // settings.batch_size) * settings.num_epochs


def read_corpus(world: Path) -> list[str]:
    """The texts of a world folder's corpus.

    Raises:
        UserError: when there is no corpus or a line of it is malformed.
    """
    path = world / CORPUS
    if not path.is_file():
        raise UserError(f"{world}: holds no {CORPUS}; give a folder that `sftlens world` wrote")
    texts = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise UserError(f'{path}, line {number}: is no {{"text": …}}; make the world again')
            texts.append(text)
    if not texts:
        raise UserError(f"{path}: holds no texts; make the world again")
    return texts


def _tokenize(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    rows = []
    for ids in tokenizer(texts, truncation=True, max_length=MAX_LENGTH - 1)["input_ids"]:
        ids = [*ids, tokenizer.eos_token_id]
        rows.append({"input_ids": ids, "length": len(ids)})
    return rows


def _resume_callback(advance: Advance) -> Any:
    from transformers import TrainerCallback

    class ResumePoints(TrainerCallback):  # type: ignore[misc]
        """Marks a resume point once it is whole, and drives the progress bar."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            advance(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            advance(1)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _COMPLETE).touch()

    return ResumePoints()


def _last_complete(resume: Path) -> Path | None:
    checkpoints = [path.parent for path in resume.glob(f"checkpoint-*/{_COMPLETE}")]
    return max(checkpoints, key=lambda path: int(path.name.split("-")[1]), default=None)


def _last_loss(log_history: list[dict[str, Any]]) -> float:
    return float(next(row["loss"] for row in reversed(log_history) if "loss" in row))


def _on_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
