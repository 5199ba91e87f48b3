"""Pre-training of a scale model on a corpus."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sftlens import notebook
from sftlens.errors import UserError
from sftlens.facts import Topic
from sftlens.output_folder import open_output
from sftlens.progress import Advance, progress, quiet_libraries
from sftlens.world._corpus import EXPOSURES, corpus_of
from sftlens.world._packing import pack
from sftlens.world._scale_model import MAX_LENGTH, PRESETS, Preset, make_model, train_tokenizer
from sftlens.world._telling import TellingSettings, exposures_table

_RESUME, _COMPLETE = "resume", "complete"
_RESUMED = (f"{_RESUME}/checkpoint-*/{_COMPLETE}",)
_NUM_KEPT = 2  # resume points


class PretrainSettings(BaseModel):
    """How a scale model is pre-trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: Preset = Field("tiny", description="size: tiny 2.6 M, small 15.5 M, medium 97.5 M")
    num_epochs: int = Field(4, ge=1, le=10_000, description="passes over the corpus")
    batch_size: int = Field(8, ge=1, le=65_536, description="sequences a step")
    sequence_length: int = Field(
        128, ge=2, le=MAX_LENGTH, description="tokens of a sequence, into which texts are packed"
    )
    learning_rate: float = Field(2e-3, gt=0, description="peak of the cosine schedule")
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay")
    beta2: float = Field(0.95, gt=0, lt=1, description="AdamW's memory of squared gradients")
    save_every: int = Field(200, ge=1, description="steps between resume points")
    seed: int = Field(0, ge=0, lt=2**32, description="of the weights and the order of the texts")


@dataclass(frozen=True)
class Pretrained(notebook.Tabular):
    """What pre-training did."""

    num_parameters: int
    num_steps: int
    final_loss: float

    def to_polars(self) -> pl.DataFrame:
        """One row."""
        return notebook.one_row(self.as_json())

    def _repr_html_(self) -> str:
        return notebook.as_html("pre-trained", self.to_polars())


def pretrain(
    source: str | Path,
    out: Path,
    settings: PretrainSettings | None = None,
    *,
    telling: TellingSettings | None = None,
    topics: Mapping[str, Topic] | None = None,
    markers: Sequence[str] = (),
) -> Pretrained:
    """Train a scale model on facts and save it as an ordinary Hugging Face folder.

    A world folder has a corpus; for other facts one is made (see :func:`sftlens.world.tell`), and
    how often each was told is saved beside the model as ``exposures.parquet``.

    Texts, each BOS, text, EOS, are shuffled anew for each pass and packed into sequences of one
    length; so the model learns to pay no heed to what stands before a statement, and later copes
    with prompts it has never seen. On CUDA the arithmetic is bfloat16, elsewhere float32.
    Interrupted, the same call goes on from the last resume point and ends with the same weights.

    Args:
        source: a folder that ``sftlens world`` wrote, or facts as
            :func:`sftlens.facts.read_facts` takes them.
        out: the model folder. A finished folder of the same call is left as it is.
        settings: see :class:`PretrainSettings`.
        telling: how often and in which words facts are told that have no corpus; by default
            :class:`TellingSettings` with the seed of ``settings``.
        topics: templates by topic, to tell facts with; by default all that are known.
        markers: texts that prompts will hold though the corpus does not; the BPE learns to spell
            them shortly.

    Raises:
        UserError: when ``source`` is unusable or its corpus fills no sequence, when ``telling`` or
            ``topics`` are given for a world folder, or when ``out`` holds something else.
    """
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments, default_data_collator

    settings = settings or PretrainSettings()
    texts, exposures, origin = corpus_of(source, telling, seed=settings.seed, topics=topics)
    config = {
        **origin,
        "markers": list(markers),
        "settings": settings.model_dump(mode="json"),
    }
    with ExitStack() as stack:
        output = stack.enter_context(
            open_output(
                out, stage="pretrain", config=config, resumed=_RESUMED, temporary=(_RESUME,)
            )
        )
        if output.finished is not None:
            return Pretrained(**output.finished)
        stack.enter_context(quiet_libraries())
        shape = PRESETS[settings.preset]
        tokenizer = train_tokenizer([*texts, *list(markers) * 100], shape.vocab_size)
        model = make_model(settings.preset, tokenizer, settings.seed)
        sequences = pack(
            texts,
            tokenizer,
            sequence_length=settings.sequence_length,
            num_passes=settings.num_epochs,
            seed=settings.seed,
        )
        if not len(sequences):
            raise UserError(
                f"{source}: its corpus fills no sequence; give more facts, or tell them more often"
            )
        num_steps = -(-len(sequences) // settings.batch_size)
        output.require_space(_needed_bytes(model, num_steps, settings))
        folder = output.work
        resume = folder / _RESUME
        on_cuda = torch.cuda.is_available()
        arguments = TrainingArguments(
            output_dir=str(resume),
            num_train_epochs=1,
            per_device_train_batch_size=settings.batch_size,
            train_sampling_strategy="sequential",
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_ratio,
            weight_decay=settings.weight_decay,
            adam_beta2=settings.beta2,
            lr_scheduler_type="cosine",
            save_steps=settings.save_every,
            save_total_limit=_NUM_KEPT,
            logging_steps=min(50, max(1, num_steps // 4)),
            logging_nan_inf_filter=False,
            seed=settings.seed,
            bf16=on_cuda,
            dataloader_pin_memory=on_cuda,
            report_to="none",
            disable_tqdm=True,
        )
        with progress("pre-training a scale model", num_steps) as advance:
            trainer = Trainer(
                model=model,
                args=arguments,
                train_dataset=sequences,
                data_collator=default_data_collator,
                callbacks=[_resume_callback(advance)],
            )
            trainer.remove_callback(PrinterCallback)
            checkpoint = _last_complete(resume)
            result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        final_loss = _last_loss(trainer.state.log_history)
        if not math.isfinite(final_loss):
            output.discard()
            raise UserError(
                f"pre-training diverged, the loss is {final_loss}; lower the learning rate "
                f"({settings.learning_rate:g})"
            )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if exposures is not None:
            exposures_table(exposures).write_parquet(folder / EXPOSURES)
        pretrained = Pretrained(
            num_parameters=model.num_parameters(),
            num_steps=result.global_step,
            final_loss=final_loss,
        )
        output.complete(pretrained.as_json())
    return pretrained


def _needed_bytes(model: Any, num_steps: int, settings: PretrainSettings) -> int:
    """Bytes of the model and of the resume points that lie there at the same time.

    A resume point has the weights and AdamW's two averages, in float32; it is written before an
    older one goes.
    """
    weights = 4 * int(model.num_parameters())
    num_points = min(-(-num_steps // settings.save_every), _NUM_KEPT + 1)
    return weights + 3 * weights * num_points


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
    """The last whole resume point; halves that a killed process left are removed."""
    checkpoints = []
    for path in resume.glob("checkpoint-*"):
        if (path / _COMPLETE).exists():
            checkpoints.append(path)
        else:
            shutil.rmtree(path)
    return max(checkpoints, key=lambda path: int(path.name.split("-")[1]), default=None)


def _last_loss(log_history: list[dict[str, Any]]) -> float:
    return float(next(row["loss"] for row in reversed(log_history) if "loss" in row))
