"""Calls of the command line in this process."""

from __future__ import annotations

import sys

import pytest
from calls import Call, Called

from sftlens.cli import main


@pytest.fixture
def sftlens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls ``sftlens`` with arguments."""

    def call(*arguments: object) -> Called:
        monkeypatch.setattr(sys, "argv", ["sftlens", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Called(int(ended.value.code or 0), *capsys.readouterr())

    return call
