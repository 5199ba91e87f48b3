"""Other names of the same object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sftlens.errors import UserError
from sftlens.facts._fact import Fact
from sftlens.facts._matching import fold
from sftlens.facts._yaml import read_yaml

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


def with_aliases(facts: Iterable[Fact], groups: AliasGroups) -> list[Fact]:
    """Facts that accept, beside each answer, the other names of its groups.

    The order of the answers is kept, and aliases follow; names compare as :func:`fold` makes them.
    """
    group_of: dict[str, list[str]] = {}
    for group in groups:
        for name in group:
            group_of.setdefault(fold(name), []).extend(group)
    widened = []
    for fact in facts:
        names = [alias for answer in fact.answers for alias in group_of.get(fold(answer), ())]
        unique: dict[str, str] = {}
        for name in [*fact.answers, *names]:
            unique.setdefault(fold(name), name)
        widened.append(replace(fact, answers=tuple(unique.values())))
    return widened
