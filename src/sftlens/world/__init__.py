"""The invented encyclopedia, its corpus, and the pre-training of scale models on it."""

from sftlens.world._encyclopedia import (
    CORPUS,
    EXPOSURES,
    Exposure,
    World,
    WorldSettings,
    make_world,
    write_world,
)
from sftlens.world._pretrain import (
    Pretrained,
    PretrainSettings,
    pretrain,
    read_corpus,
)
from sftlens.world._scale_model import PRESETS, Preset, make_model, train_tokenizer

__all__ = [
    "CORPUS",
    "EXPOSURES",
    "PRESETS",
    "Exposure",
    "Preset",
    "PretrainSettings",
    "Pretrained",
    "World",
    "WorldSettings",
    "make_model",
    "make_world",
    "pretrain",
    "read_corpus",
    "train_tokenizer",
    "write_world",
]
