"""The invented encyclopedia: facts that no language model has seen."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator

from pydantic import Field

from sftlens.facts import Domain, Fact, Split, builtin_topics
from sftlens.world._names import GENRES, OCCUPATIONS, POSITIONS, NameMaker
from sftlens.world._telling import TellingSettings, World, require_room, tell


class WorldSettings(TellingSettings):
    """Size and make-up of an invented encyclopedia, and how it is told."""

    # The syllables give 345,600 names of bands, which three topics need.
    num_facts_in: int = Field(170, ge=10, le=50_000, description="facts of each in-domain topic")
    num_facts_out: int = Field(18, ge=3, le=50_000, description="facts of each out-of-domain topic")
    skew: float = Field(0.8, ge=0, description="exponent of the answers' Zipf distribution")


def make_world(settings: WorldSettings | None = None) -> World:
    """Invent an encyclopedia with the 24 topics of the paper (section 1), and tell it.

    Of in-domain facts 79 % are for training, 6 % for validation, 15 % for testing; of
    out-of-domain facts, which are never trained on, a third for validation, the rest for testing.
    """
    settings = settings or WorldSettings()
    num_topics = Counter(topic.domain for topic in builtin_topics().values())
    require_room(
        settings.num_facts_in * num_topics["in"] + settings.num_facts_out * num_topics["out"],
        settings,
    )
    rng = random.Random(f"sftlens world {settings.seed}")
    return tell(_invented(settings, rng), settings, rng=rng)


def _invented(settings: WorldSettings, rng: random.Random) -> Iterator[Fact]:
    names = NameMaker(rng)
    objects = _objects(names)
    subjects = _subject_makers(names)
    for topic in builtin_topics().values():
        subject_kind, object_kind = KINDS[topic.topic]
        answers = _skewed(objects[object_kind], settings.skew, rng)
        size = settings.num_facts_in if topic.domain == "in" else settings.num_facts_out
        splits = _splits(topic.domain, size, rng)
        for number, split in enumerate(splits):
            subject = names.unique(subjects[subject_kind])
            yield Fact(
                f"{topic.topic}-{number:04d}",
                topic.topic,
                subject,
                topic.question(subject),
                next(answers),
                split,
                topic.domain,
            )


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
