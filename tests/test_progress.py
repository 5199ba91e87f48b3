"""Progress on standard error."""

from __future__ import annotations

import pytest

from sftlens.progress import progress


def test_logs_stay_short(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("counting", 3) as advance:
        for _ in range(3):
            advance(1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("counting: 3 done in ")
    assert err.count("\n") == 1


def test_a_stage_that_fails_is_not_told_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), progress("counting", 3):
        raise RuntimeError
    assert capsys.readouterr().err == ""
