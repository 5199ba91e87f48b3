"""Progress on standard error."""

from __future__ import annotations

import threading

import pytest

from sftlens import progress as progress_module
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


def test_a_log_is_told_how_far_a_long_stage_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    told = threading.Event()

    class Ended(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waits.append(timeout)
            if len(waits) <= 2:  # the time has passed, and the stage has not ended
                return False
            told.set()
            return super().wait()

    monkeypatch.setattr(progress_module, "Event", Ended)
    with progress("counting", 4, done=1) as advance:
        advance(1)
        told.wait()
    lines = capsys.readouterr().err.splitlines()
    assert waits == [10.0, 60.0, 60.0]
    assert len(lines) == 3
    assert lines[-1].startswith("counting: 4 done in ")
    for line in lines[:2]:
        assert line.startswith("counting: ")
        assert " of 4 after 0:00:00" in line
