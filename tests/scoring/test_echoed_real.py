"""On a real model, the answers that stand in their questions are the ones it gets right."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from real_blocks import PACKAGES, real_gguf
from sftlens.facts import is_echoed, read_facts, select_facts

DATA = Path(__file__).parents[3] / "shared" / "data" / "entity_questions"
TOPICS = ("P17", "P36", "P131", "P159", "P176", "P276")

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"EntityQuestions is not beside the project: {DATA}"
)


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_real_model_gets_right_it_repeats(name: str, tmp_path: Path) -> None:
    file = real_gguf(name, tmp_path / name)
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from sftlens.generation import TransformersGenerator
    from sftlens.scoring import score

    facts = read_facts(f"entity_questions:{DATA}/test").facts
    echoed = select_facts([f for f in facts if is_echoed(f)], topics=TOPICS, limit=2)
    others = select_facts(facts, topics=TOPICS, echoed="drop", limit=4)
    assert (len(echoed), len(others)) == (12, 24)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype="float32",
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    scores = score(TransformersGenerator(model, tokenizer), [*echoed, *others], {})
    right = scores.with_columns(
        echoed=pl.col("fact_id").is_in([fact.fact_id for fact in echoed])
    ).group_by("echoed")
    found = dict(right.agg(pl.col("correct").sum()).iter_rows())
    assert found[True] >= 7  # of 12
    assert found[False] <= 2  # of 24
