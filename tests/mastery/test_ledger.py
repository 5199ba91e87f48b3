"""The ledger: nothing is made twice, nothing that was made is lost."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.mastery import LEDGER_SCHEMA, Ledger, Probe, ProbeSettings, Stores, probe
from sftlens.mastery._completing import Memory
from sftlens.mastery._ledger import Entry, each_once
from tiny_world import ScriptedGenerator, make_fact

ABOUT = {"model": {"weights": "w"}, "decoding": {"seed": 0}}
SETTINGS = ProbeSettings(num_templates=3, num_samples=4)
FACTS = [make_fact(name, "Paris") for name in "abcdef"]


def script(prompt: str, sample: int) -> str:
    return f"{'Paris, of course' if (len(prompt) + sample) % 3 else 'Lyon perhaps'} {sample}"


def probed(
    folder: Path,
    generator: ScriptedGenerator,
    facts: list[Fact] = FACTS,
    *,
    cut: bool = True,
    **changes: object,
) -> Probe:
    settings = SETTINGS.model_copy(update=changes)
    with Ledger(folder, ABOUT) as ledger:
        return probe(generator, facts, settings, stores=Stores(ledger, Memory()), cut=cut)


def made(folder: Path, facts: list[Fact] = FACTS, **changes: object) -> int:
    """How many completions a probe makes beside those that are there."""
    generator = ScriptedGenerator(script)
    found = probed(folder, generator, facts, **changes)
    fresh = probe(ScriptedGenerator(script), facts, SETTINGS.model_copy(update=changes))
    assert found.mastery.equals(fresh.mastery)
    assert found.completions.drop("text").equals(fresh.completions.drop("text"))
    return len(generator.made)


def test_only_what_is_new_is_made(tmp_path: Path) -> None:
    assert made(tmp_path) == 6 * 3 * 4
    assert made(tmp_path) == 0
    assert made(tmp_path, num_samples=6) == 6 * 3 * 2
    assert made(tmp_path, num_templates=5, num_samples=6) == 6 * 2 * 6
    assert made(tmp_path, [*FACTS, make_fact("g")], num_templates=5, num_samples=6) == 5 * 6
    assert made(tmp_path, FACTS[:2], num_templates=1, num_samples=1) == 0


def test_judging_anew_makes_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    assert made(tmp_path, matching="words") == 0
    more = [make_fact(name, "Paris", "Lyon") for name in "abcdef"]
    assert made(tmp_path, more) == 0


def test_texts_that_were_cut_at_what_no_longer_counts_are_made_again(tmp_path: Path) -> None:
    made(tmp_path)
    other = [make_fact(name, "Lyon") for name in "abcdef"]
    num_cut = Ledger(tmp_path, ABOUT).table()["cut"].sum()
    assert 0 < num_cut < 6 * 3 * 4
    assert made(tmp_path, other) == num_cut
    assert made(tmp_path, other) == made(tmp_path) == 0


def test_whole_texts_are_never_made_again(tmp_path: Path) -> None:
    probed(tmp_path, ScriptedGenerator(script), cut=False)
    other = [make_fact(name, "course") for name in "abcdef"]
    assert made(tmp_path, other) == 0
    assert made(tmp_path, other, matching="exact") == 0


def test_a_failure_loses_at_most_a_batch(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the generator fails"):
        probed(tmp_path, ScriptedGenerator(script, fails_after=9))
    [lines] = (tmp_path).rglob("*.jsonl")
    assert len(lines.read_text().splitlines()) == 4  # batches of two prompts
    assert made(tmp_path) == (6 * 3 - 8) * 4


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_torn_line_is_not_read(tmp_path: Path, kept: float) -> None:
    with pytest.raises(RuntimeError, match="the generator fails"):
        probed(tmp_path, ScriptedGenerator(script, fails_after=9))
    [path] = tmp_path.rglob("*.jsonl")
    *lines, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + last[: int(kept * len(last))])
    assert made(tmp_path) == (6 * 3 - 6) * 4


def test_two_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path, ABOUT) as one, Ledger(tmp_path, ABOUT) as two:
        one.add([Entry("p", 0, "x", False)])
        two.add([Entry("p", 0, "x", False), Entry("p", 1, "y", True)])
        expected = [("p", 0, "x", False), ("p", 1, "y", True)]
        assert one.table().rows() == two.table().rows() == expected
        late = Ledger(tmp_path, ABOUT)  # sees the lines, which are packed before it reads them
    assert late.known(["p", "q"]).rows() == expected
    assert Ledger(tmp_path, ABOUT).table().rows() == expected
    assert not list(tmp_path.rglob("*.jsonl"))


def test_other_models_and_decodings_are_apart(tmp_path: Path) -> None:
    with Ledger(tmp_path, ABOUT) as ledger:
        ledger.add([Entry("p", 0, "x", False)])
    assert len(Ledger(tmp_path, {**ABOUT, "decoding": {"seed": 1}}).table()) == 0
    about = [json.loads(path.read_text()) for path in tmp_path.glob("*/about.json")]
    assert ABOUT in about


def test_damage_is_told(tmp_path: Path) -> None:
    with Ledger(tmp_path, ABOUT) as ledger:
        ledger.add([Entry("p", 0, "x", False)])
    (ledger.folder / "0.jsonl").write_text("[nonsense\n")
    with pytest.raises(UserError, match=r"0\.jsonl: is damaged .*; remove it"):
        ledger.table()
    (ledger.folder / "0.jsonl").write_text('[["p", "no number", 3]]\n')
    with pytest.raises(UserError, match=r"0\.jsonl: is damaged .*; remove it"):
        ledger.table()
    (ledger.folder / "0.jsonl").unlink()
    [packed] = ledger.folder.glob("*.parquet")
    packed.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"cannot be read as Parquet .*; remove it"):
        ledger.table()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        Ledger(tmp_path / "file", ABOUT)


entries = st.lists(
    st.builds(
        Entry,
        prompt=st.sampled_from(["p", "q"]),
        sample=st.integers(0, 2),
        text=st.integers(0, 5).map(lambda size: "abcde"[:size]),
        cut=st.booleans(),
    )
)


@given(entries)
def test_each_once_and_the_most_that_is_known(given: list[Entry]) -> None:
    found = each_once(pl.DataFrame(given, schema=LEDGER_SCHEMA, orient="row"))
    keys = sorted({(entry.prompt, entry.sample) for entry in given})
    assert found.select("prompt", "sample").rows() == keys
    for row in found.iter_rows():
        same = [entry for entry in given if entry[:2] == row[:2]]
        whole = [entry for entry in same if not entry.cut]
        assert Entry(*row) in (whole or same)
        if not whole:
            assert len(row[2]) == max(len(entry.text) for entry in same)
