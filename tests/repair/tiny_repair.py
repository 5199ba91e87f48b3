"""The smallest repair that has every stage."""

from __future__ import annotations

import pytest

from sftlens.repair import RepairSettings, _run
from sftlens.repair._candidates import Candidate
from sftlens.repair._decide import Decision, Verdict
from sftlens.repair._examine import Examiner
from sftlens.repair._search import Searched

SETTINGS = RepairSettings(budget=6, methods=("relative", "wise-ft"), shares=(20, 60))


def forced(chosen: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the decision be this one."""
    choose = _run._choose

    def choose_this(*args: object) -> tuple[Searched, Decision]:
        searched, _ = choose(*args)  # type: ignore[arg-type]
        verdict = Verdict(chosen, 0.1, 0.05, 9, 0, None, surely_better=True, keeps_task=True)
        searched.finalists[:] = [chosen]
        standings = [searched.standings[0]._replace(candidate=chosen), *searched.standings]
        examiner = args[0]
        assert isinstance(examiner, Examiner)
        examiner._settings = examiner._settings.model_copy(update={"budget": 1000})
        examiner.examine(chosen, "search")
        return searched._replace(standings=standings), Decision(chosen, [verdict])

    monkeypatch.setattr(_run, "_choose", choose_this)
