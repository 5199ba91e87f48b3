"""A base model, what it knows, and a model tuned from it: what the examples look at.

The base is a scale model: a small Llama that is pre-trained on an invented encyclopedia, so that
nothing is downloaded. The tuned one learnt the form of the task on facts that the base did not
know.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sftlens.generation import question_prompt
from sftlens.mastery import ProbeSettings, run_probe
from sftlens.tuning import TuneSettings, run_tune
from sftlens.world import PretrainSettings, WorldSettings, pretrain, write_world


class ScaleModels(NamedTuple):
    """Folders, as ``sftlens world``, ``pretrain``, ``probe`` and ``tune`` would write them."""

    world: Path
    base: Path
    mastery: Path
    tuned: Path


def scale_models(folder: Path, *, num_facts: int = 20, num_epochs: int = 5) -> ScaleModels:
    """Make them, or find them as an earlier call of the same arguments left them.

    Args:
        folder: where they lie.
        num_facts: facts of each in-domain topic; a fifth as many of each other one.
        num_epochs: how often the base reads its encyclopedia.
    """
    models = ScaleModels(*(folder / name for name in ScaleModels._fields))
    world = WorldSettings(
        num_facts_in=num_facts, num_facts_out=max(3, num_facts // 5), exposures=(0, 4, 12, 32)
    )
    write_world(models.world, world)
    pretrain(
        models.world,
        models.base,
        PretrainSettings(num_epochs=num_epochs, batch_size=4),
        markers=[question_prompt("")],
    )
    run_probe(
        str(models.base),
        str(models.world),
        models.mastery,
        ProbeSettings(num_templates=4, num_samples=4, max_new_tokens=10),
    )
    run_tune(
        str(models.base),
        str(models.world),
        models.mastery,
        models.tuned,
        level=0,
        size=None,
        settings=TuneSettings(learning_rate=3e-4),
    )
    return models
