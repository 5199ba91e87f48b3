"""One repair of the shared scale model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_repair import SETTINGS

from sftlens.repair import RepairResult, run_repair


@pytest.fixture(scope="session")
def repaired(models: Path, base: Path, tuned: Path, asked: Path) -> RepairResult:
    """With levels that were not measured, and the default task."""
    return run_repair(str(base), str(tuned), str(asked), models / "repaired", settings=SETTINGS)
