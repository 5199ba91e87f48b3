"""Supervised fine-tuning on facts (paper section 3)."""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import LoadedModel, answer_completion, padding_token, question_prompt
from sftlens.memory import require_memory
from sftlens.progress import Advance, quiet_libraries, silent
from sftlens.team import Team
from sftlens.tuning._distributed import (
    equal_steps,
    is_sharded,
    save_gathered,
    shard_on_cpus,
    share_of_batch,
)
from sftlens.tuning._lora import LoraSettings, with_adapter
from sftlens.tuning._methods import Method, Plain, Training, Validation
from sftlens.tuning._saving import require_savable, save_model

_FEWEST_TOKENS = 10  # of a question with its answer; logits and their gradients are float32


class TuneSettings(BaseModel):
    """How a model is fine-tuned; the defaults are the paper's (section 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: float = Field(
        1e-5, gt=0, description="peak of the cosine schedule; 1e-5 is for billions of parameters"
    )
    batch_size: int = Field(8, ge=1, le=65_536, description="facts a step")
    num_epochs: int = Field(1, ge=1, le=10_000, description="passes over the training facts")
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    gradient_checkpointing: bool = Field(False, description="recompute activations to save memory")
    seed: int = Field(0, ge=0, lt=2**32, description="of the order of the facts")
    method: Method = Field(Plain(), description="what is changed so that less is forgotten")

    @field_validator("method", mode="before")
    @classmethod
    def _by_name(cls, method: Any) -> Any:
        return {"name": method} if isinstance(method, str) else method

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plain fine-tuning goes without a word, so that what was made of it is found again."""
        content: dict[str, Any] = serialize(self)
        if isinstance(self.method, Plain):
            del content["method"]
        return content


class Tuned(NamedTuple):
    """What fine-tuning did.

    Attributes:
        num_facts: training facts.
        num_steps: optimiser steps.
        final_loss: mean cross-entropy of the answers' tokens in the last step, in nats; with what
            the method adds to it.
        kept_bytes: memory that the method held beside the model.
    """

    num_facts: int
    num_steps: int
    final_loss: float
    kept_bytes: int = 0


def num_steps(num_facts: int, settings: TuneSettings) -> int:
    """Optimiser steps of a run, by however many processes."""
    return -(-num_facts // settings.batch_size) * settings.num_epochs


def fine_tune(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    out: Path,
    settings: TuneSettings | None = None,
    *,
    lora: LoraSettings | None = None,
    validation: Validation | None = None,
    advance: Advance = silent,
) -> Tuned:
    """Fine-tune a model on facts with TRL and save it, or its LoRA adapter, with its tokenizer.

    The prompt is ``<|question|> QUESTION <|answer|>`` after BOS, the completion `` ANSWER `` and
    EOS; the loss is on the completion alone. Weights are trained in float32 (on CUDA with bfloat16
    arithmetic) and saved in the dtype they were loaded in. Started by ``accelerate launch``, the
    processes share each step's facts, and the first writes the files. With LoRA the weights stay as
    they were loaded, and the adapter that is trained in their stead is saved, in float32, as PEFT
    saves it.

    Args:
        loaded: the base model, of several processes as :func:`load_to_train` gives it; it is
            changed, so load it anew for another run.
        facts: the training facts.
        out: an existing folder that takes the model's files.
        settings: see :class:`TuneSettings`.
        lora: train an adapter of this kind instead of all weights.
        validation: what ``early-stop`` watches; other methods leave it alone.
        advance: told after each of :func:`num_steps` steps.

    Raises:
        UserError: when the loss becomes NaN or infinite, at once; when the model loads and cannot
            be saved, before it is trained; and when several GPUs are visible to one process,
            the processes cannot share a step's facts equally or are to train an adapter, or the
            model has no modules of LoRA's names, or the method cannot be used on this training.
    """
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    settings = settings or TuneSettings()
    team = Team.of_environment()
    if team.size == 1 and torch.cuda.device_count() > 1:
        raise UserError(
            f"{torch.cuda.device_count()} GPUs are visible, and one process trains on one; set "
            "CUDA_VISIBLE_DEVICES to a single one, or start it with `accelerate launch`"
        )
    batch_size = share_of_batch(settings.batch_size, team)
    model, tokenizer, folder = loaded
    stored_dtype = model.dtype
    sharded = is_sharded(team)
    if lora is not None and team.size > 1:
        raise UserError("LoRA trains in one process; start it without `accelerate launch`")
    name = settings.method.name
    if name != "sft" and (lora is not None or team.size > 1):
        raise UserError(f"method {name} trains all weights in one process; take sft instead")
    on_cuda = torch.cuda.is_available() if sharded else model.device.type == "cuda"
    rate = settings.learning_rate if lora is None else lora.rate(settings.learning_rate)
    rows = [
        {"prompt": question_prompt(fact.question), "completion": answer_completion(fact)}
        for fact in facts
    ]
    if not on_cuda:  # where there is a GPU, torch says itself that its memory is too small
        at_once = min(batch_size, len(facts))
        vocab_size = model.get_input_embeddings().num_embeddings
        require_memory(
            8.0 * _FEWEST_TOKENS * at_once * vocab_size,
            f"a training step of {at_once:,} facts",
            "lower batch_size",
        )
    scratch = Path(tempfile.mkdtemp(prefix="sftlens-"))
    try:
        with quiet_libraries():
            with team.agree():
                require_savable(model, tokenizer, folder, scratch)
            arguments = SFTConfig(
                output_dir=str(scratch),
                per_device_train_batch_size=batch_size,
                num_train_epochs=settings.num_epochs,
                learning_rate=rate,
                lr_scheduler_type="cosine",
                warmup_steps=settings.warmup_ratio,
                weight_decay=settings.weight_decay,
                completion_only_loss=True,
                max_length=None,
                gradient_checkpointing=settings.gradient_checkpointing,
                bf16=on_cuda,
                use_cpu=not on_cuda,
                dataloader_pin_memory=on_cuda,
                save_strategy="no",
                logging_steps=1,
                logging_nan_inf_filter=False,
                report_to="none",
                disable_tqdm=True,
                seed=settings.seed,
            )
            if sharded and not on_cuda:
                shard_on_cpus()
            if lora is None:
                trained = model.float()
            else:
                trained = with_adapter(model, lora, settings.seed)
            training = Training(
                model=trained.eval(),
                tokenizer=tokenizer,
                folder=folder,
                stored_dtype=stored_dtype,
                facts=facts,
                rows=rows,
                batch_size=settings.batch_size,
                weight_decay=settings.weight_decay,
                seed=settings.seed,
                validation=validation,
            )
            changes = settings.method.changes(training)
            made_by = changes.trainer(SFTTrainer) if changes.trainer else SFTTrainer
            trainer = made_by(
                model=trained.train(),
                args=arguments,
                train_dataset=Dataset.from_list(changes.rows or rows),
                processing_class=_padding(model, tokenizer),
                callbacks=[
                    *changes.callbacks,
                    _advance_callback(advance),
                    _divergence_callback(rate, team),
                ],
            )
            trainer.remove_callback(PrinterCallback)
            if team.size > 1:
                equal_steps(trainer, settings.batch_size)
            result = trainer.train()
            losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
            if sharded:
                save_gathered(trainer.model, stored_dtype, folder, out, team)
            elif team.leads:
                if lora is None:
                    save_model(model.to(stored_dtype), folder, out)
                else:
                    trained.save_pretrained(out)
            if team.leads:
                tokenizer.save_pretrained(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Tuned(len(facts), result.global_step, float(losses[-1]), changes.kept_bytes)


def _advance_callback(advance: Advance) -> Any:
    from transformers import TrainerCallback

    class Advances(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            advance(1)

    return Advances()


def _divergence_callback(rate: float, team: Team) -> Any:
    from transformers import TrainerCallback

    class Stops(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            loss = float((logs or {}).get("loss", 0.0))  # the mean of all processes, in each
            if not math.isfinite(loss):
                with team.agree():
                    raise UserError(
                        f"fine-tuning diverged, the loss is {loss} in step {state.global_step} of "
                        f"{state.max_steps}; lower the learning rate ({rate:g})"
                    )

    return Stops()


def _padding(model: Any, tokenizer: Any) -> Any:
    """The tokenizer, or a copy that pads with a token that the model has embeddings for."""
    pad = padding_token(model, tokenizer)
    if tokenizer.pad_token_id in (None, pad):
        return tokenizer
    own = copy.deepcopy(tokenizer)
    own.pad_token = tokenizer.convert_ids_to_tokens(pad)
    return own
