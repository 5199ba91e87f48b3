"""Any data set that the library ``datasets`` loads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError, first_line
from sftlens.facts._fact import FACT_FIELDS, Fact
from sftlens.facts._matching import fold
from sftlens.facts._readers import _values
from sftlens.facts._readers._collected import Collected, fact_id
from sftlens.facts._readers._columns import renamed, require_columns
from sftlens.facts._readers._files import domain_of, require_unique_ids
from sftlens.facts._readers._plain_names import plain_name
from sftlens.facts._readers._splits import split_of_name
from sftlens.facts._topics import Topic

_COLON = re.compile(r":(?![^\[\]]*\])")  # that of train[:10] is none


class _Source(NamedTuple):
    """A data set, and which part of it: None for the only one, and for all splits."""

    place: str
    configuration: str | None
    split: str | None


def read_hugging_face(
    rest: str, topics: Mapping[str, Topic], columns: Mapping[str, str]
) -> Collected:
    """Facts of ``NAME[:CONFIGURATION][:SPLIT]``, or of a folder instead of the name.

    One word after the name is a configuration where the data set has several and one of that name,
    else a split. Without a column ``topic`` the data set's name is the topic; without a column
    ``split`` the split of the data set is the split, ``test`` where its name is none of ours.

    Raises:
        UserError: when it cannot be loaded, lacks a column, or a row is malformed.
    """
    place, *words = _words(rest)
    collected = Collected()
    for name, number, row in _rows(place, words, columns):
        where = f"hf:{place}, split {name}, row {number}"
        question = _values.text(row, "question", where)
        answers, refused = _values.answers(row.get("answers"), where)
        topic = _values.optional_text(row, "topic", where) or _topic(place)
        of = _values.split(row, where) or split_of_name(name)
        if not collected.has_answer(answers, refused):
            continue
        identity = _values.optional_text(row, "fact_id", where) or fact_id(topic, of, question)
        subject = _values.optional_text(row, "subject", where) or ""
        domain = domain_of(row, topic, topics, where)
        fact = Fact(identity, topic, subject, question, answers, of, domain)
        collected.add(fact, (topic, of, fold(question)))
    require_unique_ids(collected, f"hf:{place}")
    return collected


def _words(rest: str) -> list[str]:
    """The folder or hub name, and the words after it."""
    for end in (len(rest), *(match.start() for match in re.finditer(":", rest))):
        if Path(rest[:end]).is_dir():
            return [rest[:end], *filter(None, _COLON.split(rest[end + 1 :]))]
    if Path(rest).is_file():
        raise UserError(f"hf:{rest}: is a file; give its folder, or the file without hf:")
    place, _, after = rest.partition(":")  # no hub name has a colon
    return [place, *filter(None, _COLON.split(after))]


def _topic(place: str) -> str:
    return Path(place).absolute().name or "hf"


def _rows(
    place: str, words: list[str], columns: Mapping[str, str]
) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Rows with the fields of a fact, with their split and their number in it."""
    places = {columns.get(field, field) for field in FACT_FIELDS}
    places |= {at.split(".")[0] for at in places}
    with plain_name(place) as named:
        for name, table in _load(place, named, words, places).items():
            require_columns(table.column_names, columns, ("question", "answers"), f"hf:{place}")
            used = [column for column in table.column_names if column in places]
            rows = iter(table.select_columns(used))
            number = 0
            while True:
                number += 1
                try:
                    row = next(rows)
                except StopIteration:
                    break
                except Exception as error:
                    raise UserError(
                        f"hf:{place}, split {name}, row {number}: cannot be read "
                        f"({first_line(error)}); write the file anew"
                    ) from None
                yield name, number, renamed(row, columns)


def _load(place: str, named: str, words: list[str], columns: set[str]) -> dict[str, Any]:
    """The tables of a data set by the name of their split; ``named`` is what it is loaded by."""
    try:
        from datasets import load_dataset, load_dataset_builder
    except ImportError:
        raise UserError(f"hf:{place}: needs datasets; run `pip install datasets`") from None
    configurations = _configurations(named)
    source = _source(place, words, configurations)
    try:
        options: dict[str, Any] = {}
        if hasattr(load_dataset_builder(named, source.configuration).config, "keep_default_na"):
            # Of CSV: cells are the text they hold, and not what pandas takes it for.
            options = {"keep_default_na": False, "converters": dict.fromkeys(columns, str)}
        if source.split is not None:
            split = source.split
            return {split: load_dataset(named, source.configuration, split=split, **options)}
        return dict(load_dataset(named, source.configuration, **options))
    except Exception as error:
        # The library raises errors of many classes for what is wrong with a data set.
        raise UserError(
            f"hf:{place}: cannot be loaded ({first_line(error)}); give a hub name or a folder"
        ) from None


def _configurations(place: str) -> list[str]:
    """The names of a data set's configurations; none where they cannot be told."""
    from datasets import get_dataset_config_names

    try:
        return list(get_dataset_config_names(place))
    except Exception:
        return []  # what is wrong is said by the loading that follows


def _source(place: str, words: list[str], configurations: list[str]) -> _Source:
    """The part of a data set that words after its name tell."""
    several = len(configurations) > 1
    shown = ", ".join(configurations[:20]) + (", …" if len(configurations) > 20 else "")
    if len(words) > 2:
        raise UserError(
            f"hf:{':'.join([place, *words])}: has {len(words)} parts after its name; write "
            f"hf:{place}:CONFIGURATION:SPLIT"
        )
    if len(words) == 2:
        if configurations and words[0] not in configurations:
            raise UserError(
                f"hf:{place}: has no configuration {words[0]}; it has {shown}, so write "
                f"hf:{place}:{configurations[0]}:{words[1]}"
            )
        return _Source(place, *words)
    if several and words and words[0] in configurations:
        return _Source(place, words[0], None)
    if several and "default" not in configurations:
        after = ":".join([configurations[0], *words])
        raise UserError(
            f"hf:{place}: has the configurations {shown}; name one, as in hf:{place}:{after}"
        )
    return _Source(place, None, words[0] if words else None)
