"""Facts told in a corpus, the invented encyclopedia, and scale models pre-trained on either."""

from sftlens.world._corpus import CORPUS, EXPOSURES, Corpus, corpus_of, read_corpus, write_world
from sftlens.world._encyclopedia import WorldSettings, make_world
from sftlens.world._pretrain import Pretrained, PretrainSettings, pretrain
from sftlens.world._scale_model import PRESETS, Preset, make_model, train_tokenizer
from sftlens.world._telling import (
    EXPOSURES_SCHEMA,
    Exposure,
    TellingSettings,
    World,
    exposures_table,
    tell,
)

__all__ = [
    "CORPUS",
    "EXPOSURES",
    "EXPOSURES_SCHEMA",
    "PRESETS",
    "Corpus",
    "Exposure",
    "Preset",
    "PretrainSettings",
    "Pretrained",
    "TellingSettings",
    "World",
    "WorldSettings",
    "corpus_of",
    "exposures_table",
    "make_model",
    "make_world",
    "pretrain",
    "read_corpus",
    "tell",
    "train_tokenizer",
    "write_world",
]
