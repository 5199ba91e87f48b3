"""The metadata of a card, as the hub's own library reads it."""

from __future__ import annotations

from typing import Any

from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from tiny_repair import SETTINGS

from sftlens.repair._card import Told, model_card

HUB_BASE = "org/base@0123abc"
HUB_TUNED = "you/tuned@4567def"


def told(**changes: Any) -> Told:
    row = {"num_facts": 9, **dict.fromkeys(("knowledge", "gain", "task"))}
    row |= {"knowledge_in": None, "knowledge_out": None}
    given = {
        "base": HUB_BASE,
        "tuned": HUB_TUNED,
        "hashes": ("a" * 64, "b" * 64),
        "licence": {},
        "facts": "facts.csv",
        "mastery": None,
        "task": None,
        "settings": SETTINGS,
        "groups": [],
        "chosen": "relative 20 %",
        "is_tuned": False,
        "why": "It is better.",
        "stored": "bfloat16",
        "front": [{"role": role, **row} for role in ("chosen", "tuned", "base")],
        "notes": [],
    }
    return Told(**{**given, **changes})


def test_the_data_set_and_both_models_are_named() -> None:
    card = ModelCard(model_card(told(facts="hf:org/facts:test")))
    card.data.to_yaml()
    assert card.data.datasets == ["org/facts"]
    assert card.data.base_model == ["you/tuned", "org/base"]
    for name in (*card.data.datasets, *card.data.base_model):
        validate_repo_id(name)
    assert "- facts: hf:org/facts:test" in card.text


def test_what_is_no_name_of_the_hub_stands_in_the_body_only() -> None:
    card = ModelCard(model_card(told(base="runs/base", tuned="runs/tuned", facts="facts.csv")))
    assert card.data.datasets is None
    assert card.data.base_model is None
    assert card.data.license is None
    assert "- base: runs/base" in card.text
    assert "- facts: facts.csv" in card.text


def test_the_licence_stands_where_the_hub_reads_it() -> None:
    licence = {"license": "other", "license_name": "own", "license_link": "https://example.org"}
    data = ModelCard(model_card(told(licence=licence))).data.to_dict()
    assert {key: data[key] for key in licence} == licence
