"""Numbers that would take all memory are refused before they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sftlens import memory
from sftlens.advice import AdviseSettings
from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import Decoding, LoadedModel
from sftlens.mastery import ProbeSettings, run_probe
from sftlens.memory import available_bytes, require_memory
from sftlens.repair import RepairSettings
from sftlens.scoring import HarnessSettings, ScoreSettings
from sftlens.study import StudyFile
from sftlens.tuning import TuneSettings, fine_tune
from sftlens.world import PretrainSettings, TellingSettings, WorldSettings, make_world, pretrain

HUGE = 5_000_000_000


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 10 MB of memory left."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 10_000_000)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        *((ProbeSettings, name) for name in ("num_templates", "num_samples", "num_shots", "seed")),
        (ProbeSettings, "max_new_tokens"),
        (Decoding, "num_samples"),
        (Decoding, "max_new_tokens"),
        (ScoreSettings, "max_new_tokens"),
        *((TuneSettings, name) for name in ("batch_size", "num_epochs", "seed")),
        *((PretrainSettings, name) for name in ("batch_size", "num_epochs", "seed")),
        *((WorldSettings, name) for name in ("num_facts_in", "num_facts_out", "seed")),
        *((HarnessSettings, name) for name in ("batch_size", "num_fewshot", "seed")),
        (RepairSettings, "budget"),
        (RepairSettings, "max_new_tokens"),
    ],
)
def test_a_number_in_the_billions_is_refused(settings: Any, field: str) -> None:
    with pytest.raises(ValidationError, match="less than"):
        settings(**{field: HUGE})


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": HUGE},
        {"threads": HUGE},
        {"layer_groups": HUGE},
        {"sizes": [HUGE]},
        {"sizes": list(range(1, 200))},
        {"shares": [number / 100 for number in range(2000)]},
        {"estimate": {"num_parameters": 10**30}},
        {"estimate": {"level_sizes": [HUGE] * 5}},
    ],
)
def test_a_study_of_such_numbers_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StudyFile(**{"base": "a", "facts": "b", **change})


def test_advice_of_such_numbers_is_refused() -> None:
    for change in ({"budget": HUGE}, {"sizes": (HUGE,)}):
        with pytest.raises(ValidationError):
            AdviseSettings(pilot=True, **change)  # type: ignore[arg-type]


def test_the_largest_world_has_names_enough() -> None:
    """Names of bands are the scarcest: 86,400 words with one of four endings, of three topics."""
    most = WorldSettings(num_facts_in=50_000, num_facts_out=50_000)
    assert most.num_facts_in + 2 * most.num_facts_out < 86_400 * 4 / 2


def test_memory_that_is_there_is_not_refused(small_machine: None) -> None:
    require_memory(9_000_000, "a thing", "take less")
    with pytest.raises(
        UserError, match=r"a thing would take about 2 GB .* 0 GB are available; take less"
    ):
        require_memory(2e9, "a thing", "take less")


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    free = available_bytes()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    assert free is None or available_bytes() is not None
    (tmp_path / "memory.max").write_text("1000\n")
    assert available_bytes() == 300


def test_a_corpus_that_does_not_fit(small_machine: None) -> None:
    with pytest.raises(UserError, match=r"stating 1,952 facts 1,000,000 times each would take"):
        make_world(WorldSettings(exposures=(1_000_000,)))


def test_facts_that_are_told_too_often(small_machine: None, asked: Path, tmp_path: Path) -> None:
    often = TellingSettings(exposures=(1_000_000,))
    with pytest.raises(UserError, match="state them less often"):
        pretrain(asked, tmp_path / "out", telling=often)
    assert list(tmp_path.iterdir()) == []


def test_completions_that_do_not_fit(
    small_machine: None, base: Path, asked: Path, tmp_path: Path
) -> None:
    settings = ProbeSettings(num_templates=5000, num_samples=5000)
    with pytest.raises(UserError, match="lower num_templates or num_samples"):
        run_probe(str(base), str(asked), tmp_path / "out", settings)
    assert list(tmp_path.iterdir()) == []


def test_a_training_step_that_does_not_fit(
    small_machine: None, loaded_base: LoadedModel, facts: list[Fact], tmp_path: Path
) -> None:
    settings = TuneSettings(batch_size=60_000)
    with pytest.raises(UserError, match="lower batch_size"):
        fine_tune(loaded_base, facts * 10, tmp_path, settings)
