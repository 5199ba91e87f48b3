"""The tuned model's folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from sftlens.checkpoints import model_identity, resolve_model
from sftlens.facts import facts_hash, facts_table, read_facts
from sftlens.manifest import finished_result, write_manifest
from sftlens.mastery import read_mastery
from sftlens.outputs import new_folder
from sftlens.progress import progress
from sftlens.tuning._methods import Validation
from sftlens.tuning._sft import TuneSettings, fine_tune, num_steps
from sftlens.tuning._training_set import choose_training_facts, validation_facts

TRAINING_FACTS = "training_facts.parquet"


class TuneResult(NamedTuple):
    """What ``sftlens tune`` tells.

    Attributes:
        num_facts: facts trained on; fewer than asked for where the level has no more.
        num_steps: optimiser steps.
        final_loss: mean cross-entropy of the answers' tokens in the last step, in nats, with what
            the method adds to it.
        out: the model folder.
        kept_bytes: memory that the method held beside the model.
    """

    num_facts: int
    num_steps: int
    final_loss: float
    out: str
    kept_bytes: int = 0


def run_tune(
    base: str,
    source: str,
    mastery: Path,
    out: Path,
    *,
    level: int,
    size: int | None,
    settings: TuneSettings,
) -> TuneResult:
    """Fine-tune a base model on facts of one level and write the model folder, whole or not at all.

    Beside the model's files the folder holds the training facts and the manifest. A finished
    folder of the same call is left as it is.

    Args:
        base: folder or hub id of the base model.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        mastery: folder that ``sftlens probe`` wrote for this base model.
        out: the model folder.
        level: mastery level of the training facts.
        size: how many training facts; None takes all of the level.
        settings: see :class:`TuneSettings`; its seed draws the facts too.

    Raises:
        UserError: when an input is unusable, the level has no facts, or ``out`` holds something.
    """
    facts = read_facts(source).facts
    probed = read_mastery(mastery)
    folder = resolve_model(base)
    identity = model_identity(folder)
    probed.require_base(identity)
    config = {
        "base": identity,
        "facts": facts_hash(facts),
        "mastery": probed.key,
        "level": level,
        "size": size,
        "settings": settings.model_dump(mode="json"),
    }
    if finished := finished_result(out, stage="tune", config=config):
        return TuneResult(**{**finished, "out": str(out)})
    chosen = choose_training_facts(facts, probed.levels, level=level, size=size, seed=settings.seed)
    if size is not None and len(chosen) < size:
        sys.stderr.write(
            f"level {level} has {len(chosen)} training facts, not {size}: training on all of them\n"
        )
    with new_folder(out) as work:
        from sftlens.generation import load_model

        loaded = load_model(folder)
        with progress("fine-tuning", num_steps(len(chosen), settings)) as advance:
            validation = Validation(validation_facts(facts), probed.levels)
            tuned = fine_tune(
                loaded, chosen, work, settings, validation=validation, advance=advance
            )
        facts_table(chosen).write_parquet(work / TRAINING_FACTS)
        result = TuneResult(**tuned._asdict(), out=str(out))
        write_manifest(work, stage="tune", config=config, result=result._asdict())
    return result
