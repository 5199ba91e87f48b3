"""What ``sftlens divergence`` prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import Call

from sftlens.divergence import DivergenceResult


@pytest.mark.parametrize(("ends", "told"), [((0.25, 0.75), "0.250 to 0.750"), ((None, None), "–")])
def test_an_interval_or_none(
    ends: tuple[float, float] | tuple[None, None],
    told: str,
    sftlens: Call,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    result = DivergenceResult(0.5, *ends, kl_full=0.6, num_facts=1, out=str(tmp_path))
    monkeypatch.setattr("sftlens.divergence.run_divergence", lambda *_: result)
    called = sftlens(
        "divergence", "base", "tuned", "facts.csv", "--mastery", "m", "--out", tmp_path
    )
    assert called.code == 0
    line = next(line for line in called.out.splitlines() if line.startswith("top ten tokens"))
    assert line.split(maxsplit=4)[3:] == ["0.500", told]
