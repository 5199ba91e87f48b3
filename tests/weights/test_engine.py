"""The kernels that passes run on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from sftlens.errors import UserError
from sftlens.weights import _engine
from sftlens.weights._engine import Engine, best_engine

LARGE = 1 << 30


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it raises ModuleNotFoundError
    caches = (_engine._numba_problem, _engine._warn_of_slow_kernels)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def test_numba_is_part_of_the_plain_installation() -> None:
    assert best_engine(LARGE).kernels in ("numba", "torch")


@pytest.mark.usefixtures("without_numba")
def test_slow_kernels_are_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_engine.torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, logger="sftlens"):
        assert best_engine(1).kernels == "numpy"
        assert caplog.messages == []
        assert {best_engine(LARGE).kernels for _ in range(2)} == {"numpy"}
    assert caplog.messages == [
        "numba is not installed: passes over weights take about ten times as long; "
        "`pip install -U numba`"
    ]


@pytest.mark.usefixtures("without_numba")
def test_kernels_that_are_not_there_are_refused() -> None:
    with pytest.raises(UserError, match="numba is not installed; `pip install -U numba`, or use"):
        Engine(kernels="numba", num_threads=1)
