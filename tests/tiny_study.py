"""The smallest demo that has every stage."""

from __future__ import annotations

from pathlib import Path

from sftlens.study import ScaleSettings, StudyFile, run_demo
from sftlens.tuning import TuneSettings
from sftlens.world import PretrainSettings
from tiny_world import PROBE, WORLD, small_preset

DEMO = StudyFile(
    quick=True,
    scale=ScaleSettings(
        world=WORLD,
        pretrain=PretrainSettings(num_epochs=4, learning_rate=5e-3, save_every=20),
    ),
    unused_facts=True,
    levels=(0,),
    sizes=(4, 8),
    seeds=1,
    shares=(10, 40),
    methods=("relative", "random", "interpolation"),
    probe=PROBE,
    tune=TuneSettings(learning_rate=1e-3, batch_size=4),
)


def demo(out: Path) -> None:
    with small_preset():
        run_demo(out, DEMO)
