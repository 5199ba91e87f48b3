"""Where a corpus comes from: a world folder, or facts that are told for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import builtin_topics, read_facts, topics_with
from sftlens.manifest import file_hash
from sftlens.world import TellingSettings, corpus_of, read_corpus, tell


def test_of_a_world(world: Path) -> None:
    texts, exposures, origin = corpus_of(world)
    assert texts == read_corpus(world)
    assert exposures is None
    assert origin == {"corpus": file_hash(world / "corpus.jsonl")}
    with pytest.raises(UserError, match="has a corpus, in which its facts are told already"):
        corpus_of(world, TellingSettings())
    with pytest.raises(UserError, match="leave out how to tell them"):
        corpus_of(world, topics=builtin_topics())


@pytest.mark.parametrize("form", ["a file", "a folder without a corpus"])
def test_of_facts(asked: Path, tmp_path: Path, form: str) -> None:
    source: Path = asked
    if form != "a file":
        source = tmp_path
        pl.read_parquet(asked).write_parquet(tmp_path / "facts.parquet")
    told = tell(read_facts(asked).facts, TellingSettings(seed=3))
    texts, exposures, _ = corpus_of(str(source), seed=3)
    assert (texts, exposures) == (told.corpus, told.exposures)
    assert corpus_of(source, TellingSettings(seed=3)).texts == texts


def test_the_origin_is_all_that_the_texts_depend_on(asked: Path, tmp_path: Path) -> None:
    origin = corpus_of(asked).origin
    pl.read_parquet(asked)[1:].write_parquet(tmp_path / "fewer.parquet")
    topics = dict(topics_with())
    del topics["P19"]
    others: list[dict[str, Any]] = [
        corpus_of(tmp_path / "fewer.parquet").origin,
        corpus_of(asked, seed=1).origin,
        corpus_of(asked, TellingSettings(alias_share=0)).origin,
        corpus_of(asked, topics=topics).origin,
    ]
    assert origin not in others
    assert corpus_of(asked, TellingSettings()).origin == origin


def test_a_corpus_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(UserError, match=r"corpus\.jsonl, line 2"):
        read_corpus(tmp_path)
    with pytest.raises(UserError, match=r"holds no corpus\.jsonl"):
        read_corpus(tmp_path / "elsewhere")
