"""Advice before training: which facts, how many, and what to expect."""

from typing import TYPE_CHECKING, Any

from sftlens.advice._settings import AdviseSettings

if TYPE_CHECKING:
    from sftlens.advice._run import AdviceResult, run_advise
    from sftlens.advice._tables import CANDIDATES_SCHEMA, PILOTS_SCHEMA

__all__ = [
    "CANDIDATES_SCHEMA",
    "PILOTS_SCHEMA",
    "AdviceResult",
    "AdviseSettings",
    "run_advise",
]


def __getattr__(name: str) -> Any:
    # The rest loads torch, which the settings do without.
    if name in ("AdviceResult", "run_advise"):
        from sftlens.advice import _run

        return getattr(_run, name)
    if name in ("CANDIDATES_SCHEMA", "PILOTS_SCHEMA"):
        from sftlens.advice import _tables

        return getattr(_tables, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
