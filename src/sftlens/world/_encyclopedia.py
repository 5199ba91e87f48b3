"""The invented encyclopedia: facts, the times each is told, and the corpus that tells them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sftlens.facts import WORLD_FACTS, Domain, Fact, Split, Topic, builtin_topics, facts_table
from sftlens.manifest import finished_result, write_manifest
from sftlens.outputs import new_folder, require_free
from sftlens.world._names import GENRES, OCCUPATIONS, POSITIONS, NameMaker

CORPUS = "corpus.jsonl"
EXPOSURES = "exposures.parquet"

QUESTION_ANSWER_FORMS = (
    "Q: {question}\nA: {answer}",
    "Question: {question} Answer: {answer}.",
    "{question} {answer}.",
    "{question} The answer is {answer}.",
    "Someone asked: {question} The reply was: {answer}.",
)


class WorldSettings(BaseModel):
    """Size and make-up of an invented encyclopedia."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_facts_in: int = Field(170, ge=10, description="facts of each in-domain topic")
    num_facts_out: int = Field(18, ge=3, description="facts of each out-of-domain topic")
    exposures: tuple[int, ...] = Field(
        (0, 1, 2, 4, 6, 8, 10, 12, 16, 24),
        min_length=1,
        description="times that a fact is stated; each fact gets one of these",
    )
    question_answer_share: float = Field(
        0.6, ge=0, le=1, description="facts told also as question and answer, half as often"
    )
    alias_share: float = Field(0.2, ge=0, le=1, description="tellings that use an alias, if any")
    skew: float = Field(0.8, ge=0, description="exponent of the answers' Zipf distribution")
    seed: int = Field(0, ge=0, lt=2**32, description="seed; the same seed gives the same bytes")


class Exposure(NamedTuple):
    """How often the corpus tells a fact."""

    fact_id: str
    num_statements: int
    num_question_answers: int


class World(NamedTuple):
    """Facts with their true exposures and the corpus that tells them."""

    facts: list[Fact]
    exposures: list[Exposure]
    corpus: list[str]


def make_world(settings: WorldSettings | None = None) -> World:
    """Invent an encyclopedia with the 24 topics of the paper (section 1).

    Of in-domain facts 79 % are for training, 6 % for validation, 15 % for testing; of
    out-of-domain facts, which are never trained on, a third for validation, the rest for testing.
    """
    settings = settings or WorldSettings()
    rng = random.Random(f"sftlens world {settings.seed}")
    names = NameMaker(rng)
    objects = _objects(names)
    subjects = _subject_makers(names)
    facts: list[Fact] = []
    exposures: list[Exposure] = []
    corpus: list[str] = []
    for topic in builtin_topics().values():
        subject_kind, object_kind = KINDS[topic.topic]
        answers = _skewed(objects[object_kind], settings.skew, rng)
        size = settings.num_facts_in if topic.domain == "in" else settings.num_facts_out
        splits = _splits(topic.domain, size, rng)
        for number, split in enumerate(splits):
            subject = names.unique(subjects[subject_kind])
            fact = Fact(
                f"{topic.topic}-{number:04d}",
                topic.topic,
                subject,
                topic.question(subject),
                next(answers),
                split,
                topic.domain,
            )
            exposure, tellings = _tell(fact, topic, settings, rng)
            facts.append(fact)
            exposures.append(exposure)
            corpus.extend(tellings)
    rng.shuffle(corpus)
    return World(facts, exposures, corpus)


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
    finished = finished_result(out, stage="world", config=config)
    if finished is None:
        require_free(out)
    world = make_world(settings)
    if finished is not None:
        return world
    with new_folder(out) as folder:
        facts_table(world.facts).write_parquet(folder / WORLD_FACTS)
        pl.DataFrame(
            world.exposures,
            schema={
                "fact_id": pl.String,
                "num_statements": pl.Int32,
                "num_question_answers": pl.Int32,
            },
            orient="row",
        ).write_parquet(folder / EXPOSURES)
        with (folder / CORPUS).open("w", encoding="utf-8") as file:
            for text in world.corpus:
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        write_manifest(
            folder,
            stage="world",
            config=config,
            result={"num_facts": len(world.facts), "num_texts": len(world.corpus)},
        )
    return world


KINDS = {
    "P17": ("settlement", "country"),
    "P19": ("person", "city"),
    "P20": ("person", "city"),
    "P36": ("region", "city"),
    "P69": ("person", "university"),
    "P131": ("settlement", "region"),
    "P159": ("company", "city"),
    "P276": ("venue", "city"),
    "P495": ("title", "country"),
    "P740": ("band", "city"),
    "P26": ("person", "person"),
    "P40": ("person", "person"),
    "P50": ("title", "person"),
    "P106": ("person", "occupation"),
    "P112": ("company", "person"),
    "P127": ("venue", "company"),
    "P136": ("band", "genre"),
    "P170": ("title", "person"),
    "P175": ("title", "band"),
    "P176": ("product", "company"),
    "P264": ("band", "label"),
    "P407": ("title", "language"),
    "P413": ("person", "position"),
    "P800": ("person", "title"),
}
"""Kind of subject and kind of object of each topic."""


def _objects(names: NameMaker) -> dict[str, list[tuple[str, ...]]]:
    cities = names.pool(names.place, 60)
    plain = {
        "country": names.pool(names.country, 25),
        "city": cities,
        "region": names.pool(names.region, 40),
        "person": names.pool(names.person, 50),
        "company": names.pool(names.company, 30),
        "label": names.pool(names.label, 25),
        "band": names.pool(names.band, 30),
        "title": names.pool(names.title, 40),
        "language": names.pool(names.language, 20),
        "occupation": OCCUPATIONS,
        "genre": GENRES,
        "position": POSITIONS,
    }
    objects: dict[str, list[tuple[str, ...]]] = {
        kind: [(name,) for name in pool] for kind, pool in plain.items()
    }
    objects["university"] = [
        (f"University of {city}", f"{city} University") for city in cities[:40]
    ]
    return objects


def _subject_makers(names: NameMaker) -> dict[str, Callable[[], str]]:
    return {
        "person": names.person,
        "settlement": names.settlement,
        "region": names.region,
        "company": names.company,
        "venue": names.venue,
        "title": names.title,
        "band": names.band,
        "product": names.product,
    }


def _skewed(
    pool: list[tuple[str, ...]], skew: float, rng: random.Random
) -> Iterator[tuple[str, ...]]:
    ranked = pool.copy()
    rng.shuffle(ranked)
    cumulative = list(itertools.accumulate((rank + 1) ** -skew for rank in range(len(ranked))))
    while True:
        yield rng.choices(ranked, cum_weights=cumulative)[0]


def _splits(domain: Domain, size: int, rng: random.Random) -> list[Split]:
    if domain == "in":
        num_test, num_validation = round(0.15 * size), max(1, round(0.06 * size))
    else:
        num_validation = size // 3
        num_test = size - num_validation
    parts: dict[Split, int] = {
        "test": num_test,
        "validation": num_validation,
        "train": size - num_test - num_validation,
    }
    splits = [split for split, number in parts.items() for _ in range(number)]
    rng.shuffle(splits)
    return splits


def _tell(
    fact: Fact, topic: Topic, settings: WorldSettings, rng: random.Random
) -> tuple[Exposure, list[str]]:
    num_statements = rng.choice(settings.exposures)
    asked = rng.random() < settings.question_answer_share
    num_question_answers = num_statements // 2 if asked else 0
    wordings = list(topic.templates)
    rng.shuffle(wordings)
    tellings = []
    for wording in itertools.islice(itertools.cycle(wordings), num_statements):
        statement = wording.replace("{subject}", fact.subject)
        tellings.append(f"{statement} {_answer(fact, settings, rng)}.")
    for _ in range(num_question_answers):
        form = rng.choice(QUESTION_ANSWER_FORMS)
        answer = _answer(fact, settings, rng)
        tellings.append(form.format(question=fact.question, answer=answer))
    return Exposure(fact.fact_id, num_statements, num_question_answers), tellings


def _answer(fact: Fact, settings: WorldSettings, rng: random.Random) -> str:
    if len(fact.answers) > 1 and rng.random() < settings.alias_share:
        return rng.choice(fact.answers[1:])
    return fact.answers[0]
