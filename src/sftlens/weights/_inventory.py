"""What each tensor of a checkpoint is, remembered from one command to the next.

To know it, the architecture is built by ``transformers``, whose import takes longer than a pass
over a checkpoint of a billion parameters. It depends on nothing but the configuration, the names
stored and the code, so it is kept in the user's cache folder (``$XDG_CACHE_HOME/sftlens``, else
``~/.cache/sftlens``), which may be emptied at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sftlens.checkpoints import CONFIG, Checkpoint
from sftlens.weights import _architecture
from sftlens.weights._architecture import Architecture, Role


@dataclass(frozen=True)
class Inventory:
    """What the architecture says of the tensors of a checkpoint."""

    model_type: str
    tied: bool
    """Whether the output head shares the token embeddings' weight."""
    roles: Mapping[str, Role]
    """By the name stored."""
    parameters: frozenset[str]
    """The model's own names of its parameters."""

    @classmethod
    def of(cls, architecture: Architecture, names: Iterable[str]) -> Inventory:
        """What an architecture says of tensors stored under these names."""
        parameters = architecture.model.named_parameters(remove_duplicate=False)
        return cls(
            model_type=architecture.model_type,
            tied=architecture.tied,
            roles=architecture.roles(names),
            parameters=frozenset(name for name, _ in parameters),
        )


def inventory(checkpoint: Checkpoint) -> Inventory:
    """What the tensors of a model folder are.

    Raises:
        UserError: as :class:`Architecture`.
    """
    path = _kept_at(checkpoint)
    if path is not None and (kept := _kept(path)):
        return kept
    found = Inventory.of(Architecture(checkpoint.folder), checkpoint.tensors)
    if path is not None:
        _keep(found, path)
    return found


def _kept_at(checkpoint: Checkpoint) -> Path | None:
    try:
        config = (checkpoint.folder / CONFIG).read_bytes()
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except (OSError, RuntimeError):
        return None
    digest = hashlib.sha256()
    for code in (__file__, _architecture.__file__):
        digest.update(Path(code).read_bytes())
    told = [version("transformers"), sorted(checkpoint.tensors)]
    digest.update(json.dumps(told).encode() + b"\0" + config)
    return Path(root) / "sftlens" / "inventories" / f"{digest.hexdigest()}.json"


def _kept(path: Path) -> Inventory | None:
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        roles = {name: Role(*row) for name, row in kept.pop("roles").items()}
        parameters = frozenset(kept.pop("parameters"))
        return Inventory(**kept, roles=roles, parameters=parameters)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _keep(found: Inventory, path: Path) -> None:
    text = json.dumps(
        {**vars(found), "roles": dict(found.roles), "parameters": sorted(found.parameters)}
    )
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, written = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(written).replace(path)
        except OSError:
            Path(written).unlink(missing_ok=True)
