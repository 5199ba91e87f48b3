"""The tasks of lm-evaluation-harness that a study file names: its own, or one's YAML files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sftlens.errors import UserError
from sftlens.manifest import file_hash
from sftlens.yaml_files import read_yaml

if TYPE_CHECKING:
    from sftlens.scoring import HarnessTasks

_ENDINGS = (".yaml", ".yml")


class NamedTask(NamedTuple):
    """A task, group or tag of the harness.

    Attributes:
        name: as the harness knows it.
        identity: what its results depend on, beside the model and the settings.
        folder: of the user's YAML file; None where the harness brings the task along.
    """

    name: str
    identity: str
    folder: str | None


def is_task_file(entry: str) -> bool:
    """Whether what a study file names is a YAML file, not a task of the harness."""
    return entry.endswith(_ENDINGS)


def find_tasks(entries: Sequence[str]) -> tuple[NamedTask, ...]:
    """Look up the tasks that a study file names.

    Args:
        entries: names of the harness, or YAML files of tasks or groups. The identity of a file is
            that of all files beside it; data elsewhere does not count.

    Raises:
        UserError: when the harness is not installed, a file is no task, or two have one name.
    """
    if not entries:
        return ()
    try:
        harness = f"lm-eval {version('lm-eval')}"
    except PackageNotFoundError:
        raise UserError(
            "tasks: take lm-evaluation-harness, which is not installed; `pip install sftlens[eval]`"
        ) from None
    found: list[NamedTask] = []
    for entry in entries:
        if is_task_file(entry):
            file = Path(entry).expanduser().absolute()
            name = _name(file)
            found.append(NamedTask(name, f"{harness}, {_content(file.parent)}", str(file.parent)))
        else:
            found.append(NamedTask(entry, harness, None))
        if found[-1].name in [task.name for task in found[:-1]]:
            raise UserError(
                f"tasks: {found[-1].name} is named twice; give one of them another name"
            )
    return tuple(found)


def load_tasks(tasks: Sequence[NamedTask]) -> list[HarnessTasks]:
    """Load tasks with their data, which are fetched where they are not in the cache.

    Raises:
        UserError: as :func:`sftlens.scoring.load_harness_tasks`.
    """
    from sftlens.scoring import load_harness_tasks

    by_folder: dict[str | None, list[str]] = {}
    for task in tasks:
        by_folder.setdefault(task.folder, []).append(task.name)
    return [load_harness_tasks(names, folder) for folder, names in by_folder.items()]


def place_of(name: str) -> str:
    """The name under which a job's places hold the folder of a task."""
    return f"task {name}"


def _name(file: Path) -> str:
    try:
        content = read_yaml(file, "a task", own_tags=True)
    except UserError as error:
        raise UserError(f"tasks: {error}") from None
    content = content if isinstance(content, dict) else {}
    name = content.get("group") or content.get("task")
    if not isinstance(name, str):
        raise UserError(f"tasks: {file}: names no task: and no group:; write one")
    return name


def _content(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    lines = "".join(f"{file_hash(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
