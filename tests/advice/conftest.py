"""One advice on the shared scale model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_advice import SETTINGS

from sftlens.advice import AdviceResult, run_advise


@pytest.fixture(scope="session")
def advised(models: Path, base: Path, world: Path, mastery_folder: Path) -> AdviceResult:
    """With a pilot, of levels that were measured before."""
    out = models / "advised"
    return run_advise(str(base), str(world), out, mastery=mastery_folder, settings=SETTINGS)
