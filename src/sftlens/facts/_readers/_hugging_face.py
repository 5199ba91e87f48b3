"""Any data set that the library ``datasets`` loads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sftlens.errors import UserError, first_line
from sftlens.facts._fact import Fact
from sftlens.facts._matching import fold
from sftlens.facts._readers import _checks, _collected
from sftlens.facts._readers._collected import Collected, fact_id
from sftlens.facts._readers._columns import renamed, require_columns
from sftlens.facts._readers._files import domain_of, own_id, require_unique_ids, subject_of
from sftlens.facts._readers._plain_names import plain_name
from sftlens.facts._readers._splits import split_of_name
from sftlens.facts._topics import Topic

_FIELDS = ("fact_id", "topic", "subject", "question", "answers", "split", "domain")


def read_hugging_face(
    rest: str, topics: Mapping[str, Topic], columns: Mapping[str, str]
) -> Collected:
    """Facts of ``NAME[:SPLIT]`` or ``FOLDER[:SPLIT]``.

    Without a column ``topic`` the data set's name is the topic; without a column ``split`` the
    split of the data set is the split, ``test`` where its name is none of ours.

    Raises:
        UserError: when it cannot be loaded, lacks a column, or a row is malformed.
    """
    place, split = _place(rest)
    collected = Collected()
    for name, number, row in _rows(place, split, columns):
        where = f"hf:{place}, split {name}, row {number}"
        question = _checks.text(row, "question", where)
        answers = _checks.answers(row.get("answers"), where)
        topic = _checks.text(row, "topic", where) if "topic" in row else _topic(place)
        of = _checks.split(row["split"], where) if row.get("split") else split_of_name(name)
        if not answers:
            collected.drop(_collected.NO_ANSWER)
            continue
        identity = own_id(row, where) or fact_id(topic, of, question)
        domain = domain_of(row, topic, topics, where)
        fact = Fact(identity, topic, subject_of(row, where), question, answers, of, domain)
        collected.add(fact, (topic, of, fold(question)))
    require_unique_ids(collected, f"hf:{place}")
    return collected


def _place(rest: str) -> tuple[str, str | None]:
    """The folder or hub name, and the split that is asked for."""
    colons = [match.start() for match in re.finditer(":", rest)]
    for end in (len(rest), *colons):
        place = rest[:end]
        if Path(place).is_dir():
            return place, rest[end + 1 :] or None
    if Path(rest).is_file():
        raise UserError(f"hf:{rest}: is a file; give its folder, or the file without hf:")
    place, _, split = rest.partition(":")  # no hub name has a colon
    return place, split or None


def _topic(place: str) -> str:
    return Path(place).absolute().name or "hf"


def _rows(
    place: str, split: str | None, columns: Mapping[str, str]
) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Rows with the fields of a fact, with their split and their number in it."""
    with plain_name(place) as named:
        for name, table in _load(named, split).items():
            require_columns(table.column_names, columns, ("question", "answers"), f"hf:{place}")
            places = {columns.get(field, field) for field in _FIELDS}
            used = [
                column
                for column in table.column_names
                if column in places or any(at.split(".")[0] == column for at in places)
            ]
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
                        f"({first_line(error)}); mend it"
                    ) from None
                yield name, number, renamed(row, columns)


def _load(place: str, split: str | None) -> dict[str, Any]:
    """The tables of a data set by the name of their split."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(f"hf:{place}: needs datasets; run `pip install datasets`") from None
    try:
        if split is not None:
            return {split: load_dataset(place, split=split)}
        return dict(load_dataset(place))
    except Exception as error:
        # The library raises errors of many classes for what is wrong with a data set.
        raise UserError(
            f"hf:{place}: cannot be loaded ({first_line(error)}); give a hub name or a folder"
        ) from None
