"""Repair: search restorations on validation facts, choose, write, explain."""

from typing import TYPE_CHECKING, Any

from sftlens.repair._settings import METHODS, RepairSettings

if TYPE_CHECKING:
    from sftlens.repair._run import RepairResult, run_repair
    from sftlens.repair._tables import CANDIDATES_SCHEMA, FRONT_SCHEMA

__all__ = [
    "CANDIDATES_SCHEMA",
    "FRONT_SCHEMA",
    "METHODS",
    "RepairResult",
    "RepairSettings",
    "run_repair",
]


def __getattr__(name: str) -> Any:
    # The rest loads torch, which the settings do without.
    if name in ("RepairResult", "run_repair"):
        from sftlens.repair import _run

        return getattr(_run, name)
    if name in ("CANDIDATES_SCHEMA", "FRONT_SCHEMA"):
        from sftlens.repair import _tables

        return getattr(_tables, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
