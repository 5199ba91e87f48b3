"""Corpora: written with a world, read from its folder, or made of the facts that a user names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError
from sftlens.facts import (
    WORLD_FACTS,
    Fact,
    Topic,
    facts_hash,
    facts_table,
    read_facts,
    topics_with,
)
from sftlens.manifest import content_key, file_hash
from sftlens.output_folder import open_output
from sftlens.world._encyclopedia import WorldSettings, make_world
from sftlens.world._telling import (
    Exposure,
    TellingSettings,
    World,
    exposures_table,
    require_room,
    tell,
)

CORPUS = "corpus.jsonl"
EXPOSURES = "exposures.parquet"


class Corpus(NamedTuple):
    """The texts that a model is pre-trained on.

    Attributes:
        texts: in the order of the corpus.
        exposures: how often each fact was told; None where a world folder holds that already.
        origin: what the texts depend on, for a manifest.
    """

    texts: list[str]
    exposures: list[Exposure] | None
    origin: dict[str, Any]


def write_world(out: Path, settings: WorldSettings | None = None) -> World:
    """Make a world and write it as a folder, whole or not at all.

    The folder holds the facts, their exposures, the corpus (``{"text": …}`` a line) and the
    manifest.

    A finished folder of the same settings is left as it is.

    Raises:
        UserError: when ``out`` holds something else.
    """
    settings = settings or WorldSettings()
    config = {"settings": settings.model_dump(mode="json")}
    with open_output(out, stage="world", config=config) as output:
        world = make_world(settings)
        if output.finished is not None:
            return world
        folder = output.work
        facts_table(world.facts).write_parquet(folder / WORLD_FACTS)
        exposures_table(world.exposures).write_parquet(folder / EXPOSURES)
        with (folder / CORPUS).open("w", encoding="utf-8") as file:
            for text in world.corpus:
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        output.complete({"num_facts": len(world.facts), "num_texts": len(world.corpus)})
    return world


def corpus_of(
    source: str | Path,
    telling: TellingSettings | None = None,
    *,
    seed: int = 0,
    topics: Mapping[str, Topic] | None = None,
) -> Corpus:
    """The corpus of a world folder, or one made of facts.

    Args:
        source: a folder with a corpus, or facts as :func:`sftlens.facts.read_facts` takes them.
        telling: how facts are told; only where there is no corpus yet. None is the default.
        seed: of the default telling.
        topics: templates by topic, only where there is no corpus; by default all that are known.

    Raises:
        UserError: when ``source`` is neither, when its corpus is empty or malformed, or when it has
            a corpus and ``telling`` or ``topics`` are given.
    """
    folder = Path(source)
    if (folder / CORPUS).is_file():
        if telling is not None or topics is not None:
            raise UserError(
                f"{folder}: has a corpus, in which its facts are told already; "
                "leave out how to tell them"
            )
        return Corpus(read_corpus(folder), None, {"corpus": file_hash(folder / CORPUS)})
    topics = topics_with() if topics is None else topics
    facts = read_facts(source, topics=topics).facts
    telling = telling or TellingSettings(seed=seed)
    require_room(len(facts), telling)
    world = tell(facts, telling, topics=topics)
    origin = {
        "facts": facts_hash(facts),
        "templates": _templates_key(facts, topics),
        "telling": telling.model_dump(mode="json"),
    }
    return Corpus(world.corpus, world.exposures, origin)


def read_corpus(world: Path) -> list[str]:
    """The texts of a world folder's corpus.

    Raises:
        UserError: when there is no corpus or a line of it is malformed.
    """
    path = world / CORPUS
    if not path.is_file():
        raise UserError(f"{world}: holds no {CORPUS}; give a folder that `sftlens world` wrote")
    texts = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = json.loads(line.decode("utf-8"))["text"]
            except (ValueError, KeyError, TypeError, RecursionError):
                text = None
            if not isinstance(text, str):
                raise UserError(f'{path}, line {number}: is no {{"text": …}}; make the world again')
            texts.append(text)
    if not texts:
        raise UserError(f"{path}: holds no texts; make the world again")
    return texts


def _templates_key(facts: Sequence[Fact], topics: Mapping[str, Topic]) -> str:
    used = {fact.topic for fact in facts if fact.topic in topics}
    return content_key({topic: topics[topic].templates for topic in used})
