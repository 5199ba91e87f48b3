"""Whether a run folder already tells of the very jobs that a plan has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sftlens import __version__
from sftlens.errors import UserError
from sftlens.fingerprints import first_fault
from sftlens.manifest import content_key, read_manifest
from sftlens.study._plan import Plan
from sftlens.study._store import Store

PAGE = "index.html"


def plan_key(plan: Plan) -> str:
    """Stands for what all results of a plan depend on."""
    return content_key({name: job.key for name, job in plan.jobs.items()})


def written_tables(folder: Path) -> list[str]:
    """The names of a run folder's tables."""
    return sorted(path.name for path in folder.glob("*.parquet"))


def already_told(
    plan: Plan, store: Store, folder: Path, config: dict[str, Any]
) -> dict[str, Any] | None:
    """What the manifest says, if all jobs were done when this version of sftlens wrote the run
    folder, and its files are still whole.

    The manifest records the files once the last of them is written. One without that record is of
    a run that was stopped before, or of an earlier version, and its files are written anew.
    """
    try:
        manifest = read_manifest(folder, "study")
    except UserError:
        return None
    told: dict[str, Any] = manifest["result"]
    files = manifest.get("files")
    current = (
        manifest["config_key"] == content_key(config)
        and manifest["versions"].get("sftlens") == __version__
        and told.get("plan") == plan_key(plan)
        and told.get("num_failed") == 0
        and isinstance(files, dict)
        and (PAGE in files and first_fault(folder, files) is None)
        and written_tables(folder) == told.get("tables")
        and all(store.has(job) for job in plan.jobs.values())
        and not any(job.keeps_model and store.lacks_model(job) for job in plan.jobs.values())
    )
    return told if current else None
