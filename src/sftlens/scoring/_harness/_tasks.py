"""Tasks of lm-evaluation-harness, loaded with their data."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError, first_line


class HarnessTasks(NamedTuple):
    """Tasks of the harness, loaded with their data; good for any number of models.

    Attributes:
        names: the tasks, groups resolved.
        groups: the groups that were named.
        num_fewshot: by task, the examples that its own settings ask for; None where they say
            nothing.
        loaded: the harness's own objects.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    num_fewshot: Mapping[str, int | None]
    loaded: Any

    def num_items(self, name: str) -> int:
        """How many items a task has."""
        return len(self.loaded["tasks"][name].eval_docs)


def load_harness_tasks(
    names: Sequence[str], include_path: str | Path | None = None
) -> HarnessTasks:
    """Load tasks and groups of lm-evaluation-harness.

    A task of the harness fetches its data set when it is not in the cache, and nothing else is
    fetched. A task whose YAML names Python functions runs them: take only a folder that you trust.

    Args:
        names: tasks, groups or tags.
        include_path: a folder of own YAML files, which go before the harness's own tasks of the
            same name. When it has all that is named, those are not looked through, which takes
            several seconds.

    Raises:
        UserError: when the harness is not installed; when a task is not known, cannot be loaded,
            runs code that a model wrote, or needs more than text.
    """
    require_harness()
    from lm_eval.tasks import TaskManager

    if not names:
        raise UserError("no task is named; name one, such as gsm8k")
    folder = None if include_path is None else Path(include_path).expanduser()
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: is no folder; give one that holds YAML files of tasks")
    with off_stdout(), harness_level(logging.ERROR):
        manager = None
        if folder is not None:
            manager = TaskManager(include_path=str(folder), include_defaults=False)
        if manager is None or not all(_is_whole(manager.task_index, name) for name in names):
            manager = TaskManager(include_path=None if folder is None else str(folder))
        if unknown := [name for name in names if name not in manager.task_index]:
            where = "" if folder is None else f" and none in {folder}"
            raise UserError(
                f"{', '.join(unknown)}: no task of lm-evaluation-harness{where} has this name; "
                "`lm-eval ls tasks` lists them, and a YAML file that is broken is passed over"
            )
        try:
            loaded = manager.load(list(names))
        except Exception as error:  # a YAML file and its data can fail in as many ways as they like
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(
                f"{', '.join(names)}: cannot be loaded ({reason}); mend the task, or see that its "
                "data can be fetched"
            ) from None
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise UserError(f"{name}: runs code that a model wrote, which is not done here")
        if getattr(task, "MULTIMODAL", False):
            raise UserError(f"{name}: asks about more than text; choose another task")
    return HarnessTasks(
        tuple(loaded["tasks"]),
        tuple(loaded["groups"]),
        {name: task.get_config("num_fewshot") for name, task in loaded["tasks"].items()},
        loaded,
    )


def require_harness() -> None:
    """Refuse when lm-evaluation-harness is absent.

    Raises:
        UserError: then.
    """
    if find_spec("lm_eval") is None:
        raise UserError("lm-evaluation-harness is not installed; `pip install sftlens[eval]`")


@contextmanager
def off_stdout() -> Iterator[None]:
    """Send what the harness prints to standard error, for a block."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep the harness from drawing progress bars, for a block.

    It has many of them and no switch. They are all of one class, and with ``disable`` a bar still
    counts and draws nothing.
    """
    tqdm: Any = import_module("tqdm").tqdm  # brings no types along
    draw = tqdm.__init__

    def disabled(self: Any, *arguments: Any, **options: Any) -> None:
        draw(self, *arguments, **{**options, "disable": True})

    tqdm.__init__ = disabled
    try:
        yield
    finally:
        tqdm.__init__ = draw


@contextmanager
def harness_level(level: int) -> Iterator[None]:
    """Keep the harness's notices below a level to itself, for a block."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def _is_whole(index: Mapping[str, Any], name: str) -> bool:
    """Whether an index has a task, and all that it names where it is a group."""
    if name not in index:
        return False
    members = (index[name].cfg or {}).get("task")
    if not isinstance(members, list):
        return True
    return all(isinstance(member, str) and _is_whole(index, member) for member in members)
