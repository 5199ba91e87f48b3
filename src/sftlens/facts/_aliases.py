"""Other names of the same object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from sftlens.errors import UserError
from sftlens.facts._fact import Fact
from sftlens.facts._matching import fold
from sftlens.yaml_files import read_yaml

AliasGroups = Sequence[Sequence[str]]
"""Groups of names; the names of a group all mean the same object."""


def load_aliases(path: Path) -> list[list[str]]:
    """Alias groups of a YAML file: a list of lists of names.

    Raises:
        UserError: when the file is absent or has another form.
    """
    content = read_yaml(path, "alias groups")
    well_formed = isinstance(content, list) and all(
        isinstance(group, list) and all(isinstance(name, str) and fold(name) for name in group)
        for group in content
    )
    if not well_formed:
        raise UserError(f"{path}: is no list of lists of names; write `- [USA, United States]`")
    return content  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def paper_aliases() -> AliasGroups:
    """Groups of names for 29 frequent objects of EntityQuestions, after the paper (section 1)."""
    groups = read_yaml(Path(__file__).with_name("aliases.yaml"), "alias groups")
    return tuple(map(tuple, groups))


def with_aliases(facts: Iterable[Fact], groups: AliasGroups) -> list[Fact]:
    """Facts that accept, beside each answer, the other names of its groups.

    The order of the answers is kept, and aliases follow; names compare as :func:`fold` makes them.
    A fact whose answers stand in no group stays as it is.
    """
    group_of: dict[str, list[str]] = {}
    for group in groups:
        for name in group:
            group_of.setdefault(fold(name), []).extend(group)
    aliases_of: dict[str, Sequence[str]] = {}
    widened = []
    for fact in facts:
        names: list[str] = []
        for answer in fact.answers:
            if answer not in aliases_of:
                aliases_of[answer] = group_of.get(fold(answer), ())
            names += aliases_of[answer]
        if not names:
            widened.append(fact)
            continue
        unique: dict[str, str] = {}
        for name in [*fact.answers, *names]:
            unique.setdefault(fold(name), name)
        widened.append(replace(fact, answers=tuple(unique.values())))
    return widened
