"""Other names of the same object."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlens.errors import UserError
from sftlens.facts import fold, load_aliases, matches, paper_aliases, with_aliases
from tiny_world import make_fact

USA = ["United States of America", "USA", "United States"]


def test_aliases_follow_the_answers() -> None:
    facts = [make_fact("a", "usa", "Mexico"), make_fact("b", "Canada")]
    widened = with_aliases(facts, [USA, ["Mexico", "México"]])
    assert widened[0].answers == (
        "usa",
        "Mexico",
        "United States of America",
        "United States",
        "México",
    )
    assert widened[1] == facts[1]
    assert matches("in the United States", widened[0].answers)


def test_a_name_of_two_groups_gets_the_names_of_both() -> None:
    groups = [["Cambridge", "University of Cambridge"], ["Cambridge", "Cambridge, England"]]
    (fact,) = with_aliases([make_fact("a", "Cambridge")], groups)
    assert fact.answers == ("Cambridge", "University of Cambridge", "Cambridge, England")


def test_widening_twice_changes_nothing() -> None:
    once = with_aliases([make_fact("a", "USA")], [USA])
    assert with_aliases(once, [USA]) == once


def test_facts_without_other_names_stay_as_they_are() -> None:
    fact = make_fact("a", "Paris", "paris")
    assert with_aliases([fact], [USA]) == [fact]


def test_the_table_of_the_paper() -> None:
    groups = paper_aliases()
    assert len(groups) == 29
    assert all(len(group) >= 2 for group in groups)
    names = [fold(name) for group in groups for name in group]
    assert len(set(names)) == len(names)
    # The examples that are known of it (section 1).
    assert tuple(USA) in groups
    for known in (
        {"People's Republic of China", "PRC", "China"},
        {"University of Cambridge", "Cambridge University", "Cambridge"},
        {"Saint Petersburg", "St. Petersburg"},
    ):
        assert any(known <= set(group) for group in groups)


def test_load_aliases(tmp_path: Path) -> None:
    path = tmp_path / "aliases.yaml"
    path.write_text("- [USA, United States]\n- [Köln, Cologne]\n", encoding="utf-8")
    assert load_aliases(path) == [["USA", "United States"], ["Köln", "Cologne"]]


@pytest.mark.parametrize(
    "content",
    [b"USA: United States", b"- USA", b"- [USA, 1]", b"- [USA, ' ']", b"[", b"", b"- [\xff]"],
)
def test_refused_aliases(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "aliases.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"aliases\.yaml"):
        load_aliases(path)


def test_missing_aliases(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_aliases(tmp_path / "absent.yaml")
