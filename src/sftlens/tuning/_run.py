"""The tuned model's folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sftlens import notebook
from sftlens.checkpoints import model_identity, resolve_model
from sftlens.facts import Fact, facts_hash, facts_table, read_facts
from sftlens.mastery import NUM_LEVELS, read_mastery
from sftlens.output_folder import open_output
from sftlens.progress import Advance, progress, silent
from sftlens.team import Team
from sftlens.tuning._distributed import load_to_train, share_of_batch
from sftlens.tuning._lora import LoraSettings
from sftlens.tuning._methods import Validation
from sftlens.tuning._sft import Tuned, TuneSettings, fine_tune, num_steps
from sftlens.tuning._training_set import choose_training_facts, validation_facts

TRAINING_FACTS = "training_facts.parquet"


@dataclass(frozen=True)
class TuneResult(notebook.Tabular):
    """What ``sftlens tune`` tells.

    Attributes:
        num_facts: facts trained on; fewer than asked for where the level has no more.
        num_steps: optimiser steps.
        final_loss: mean cross-entropy of the answers' tokens in the last step, in nats, with what
            the method adds to it.
        out: the folder of the model, or of its adapter.
        kept_bytes: memory that the method held beside the model.
    """

    num_facts: int
    num_steps: int
    final_loss: float
    out: str
    kept_bytes: int = 0

    def to_polars(self) -> pl.DataFrame:
        """One row."""
        return notebook.one_row(self.as_json())

    def _repr_html_(self) -> str:
        return notebook.as_html("fine-tuned", self.to_polars())


def run_tune(
    base: str,
    source: str,
    mastery: Path,
    out: Path,
    *,
    level: int | None,
    size: int | None,
    settings: TuneSettings,
    lora: LoraSettings | None = None,
) -> TuneResult | None:
    """Fine-tune a base model on facts of one level and write the model folder, whole or not at all.

    Beside the model's files the folder holds the training facts and the manifest. A finished
    folder of the same call is left as it is. Started by ``accelerate launch``, the processes share
    the work.

    Args:
        base: folder or hub id of the base model.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        mastery: folder that ``sftlens probe`` wrote for this base model.
        out: the model folder.
        level: mastery level of the training facts; None takes facts of all levels.
        size: how many training facts; None takes all of the level.
        settings: see :class:`TuneSettings`; its seed draws the facts too.
        lora: train an adapter of this kind, and write it in place of a model.

    Returns:
        None in all processes but the first.

    Raises:
        UserError: when an input is unusable, the level has no facts, ``out`` holds something, or
            the processes cannot share a step's facts equally.
    """
    team = Team.of_environment()
    with ExitStack() as opened:
        with team.agree():
            share_of_batch(settings.batch_size, team)
            facts = read_facts(source).facts
            probed = read_mastery(mastery)
            folder = resolve_model(base)
            identity = model_identity(folder)
            probed.require_base(identity)
            in_training = [fact for fact in facts if fact.split == "train" and fact.domain == "in"]
            probed.require_known(in_training, source)
            config = {
                "base": identity,
                "facts": facts_hash(facts),
                "mastery": probed.key,
                "level": level,
                "size": size,
                "settings": settings.model_dump(mode="json"),
                **({} if lora is None else {"lora": lora.model_dump(mode="json")}),
            }
            output = opened.enter_context(
                open_output(out, stage="tune", config=config, leads=team.leads)
            )
        if (finished := team.gather(output.finished)[0]) is not None:
            return TuneResult(**{**finished, "out": str(out)}) if team.leads else None
        with team.agree():
            wanted = range(NUM_LEVELS) if level is None else level
            chosen = choose_training_facts(
                facts, probed.levels, level=wanted, size=size, seed=settings.seed
            )
            if lora is None and team.leads:
                output.require_space(_stored_bytes(folder))
        if size is not None and len(chosen) < size and team.leads:
            whose = "all levels have" if level is None else f"level {level} has"
            sys.stderr.write(
                f"{whose} {len(chosen)} training facts, not {size}: training on all of them\n"
            )
        validation = Validation(validation_facts(facts), probed.levels)
        if not team.leads:
            _train(folder, chosen, out, settings, lora, team, validation, silent)
            return None
        with progress("fine-tuning", num_steps(len(chosen), settings)) as advance:
            tuned = _train(folder, chosen, output.work, settings, lora, team, validation, advance)
        facts_table(chosen).write_parquet(output.work / TRAINING_FACTS)
        result = TuneResult(**tuned._asdict(), out=str(out))
        output.complete(result.as_json())
    return result


def _stored_bytes(model: Path) -> int:
    """Bytes of a model's weights, which a model tuned from it takes too."""
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


def _train(
    base: Path,
    chosen: Sequence[Fact],
    out: Path,
    settings: TuneSettings,
    lora: LoraSettings | None,
    team: Team,
    validation: Validation,
    advance: Advance,
) -> Tuned:
    with team.agree():
        loaded = load_to_train(base)
    return fine_tune(
        loaded, chosen, out, settings, lora=lora, validation=validation, advance=advance
    )
