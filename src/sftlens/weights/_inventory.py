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
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sftlens.checkpoints import CONFIG, Checkpoint
from sftlens.headers import TensorInfo
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
    parameters: Mapping[str, int]
    """The number of entries of the model's parameters, by its own names."""
    shared: tuple[tuple[str, ...], ...]
    """Names that are one parameter, the embeddings' first: it is stored under one or more."""
    optional: frozenset[str]
    """The parameters that ``transformers`` makes itself where they are not stored."""
    unplaced: tuple[str, ...]
    """The stored tensors of blocks and other modules that the model has no place for."""

    @classmethod
    def of(cls, architecture: Architecture, names: Iterable[str]) -> Inventory:
        """What an architecture says of tensors stored under these names."""
        return cls(
            model_type=architecture.model_type,
            tied=architecture.tied,
            roles=_under_one_name(architecture, names),
            parameters=architecture.parameters,
            shared=architecture.shared,
            optional=architecture.optional,
            unplaced=tuple(architecture.unplaced(names)),
        )

    def missing(self, tensors: Mapping[str, TensorInfo]) -> list[str]:
        """The parameters that a checkpoint lacks, in whole or in part."""
        stored: dict[str, int] = defaultdict(int)
        for name, role in self.roles.items():
            stored[role.parameter] += tensors[name].num_entries
        here = self.optional.union(
            *(own for own in self.shared if not stored.keys().isdisjoint(own))
        )
        return [
            name
            for name, size in self.parameters.items()
            if (stored[name] != size if name in stored else name not in here)
        ]


def _under_one_name(architecture: Architecture, names: Iterable[str]) -> dict[str, Role]:
    """The roles of stored tensors; of a shared parameter that of its first name.

    Files that drop all names of a tensor but one (safetensors' ``save_model``) may keep the head's;
    ``transformers`` loads the embeddings from it.
    """
    roles = architecture.roles(names)
    stored_as = {role.parameter: name for name, role in roles.items()}
    for first, *others in architecture.shared:
        alone = next((stored_as[name] for name in others if name in stored_as), None)
        if first not in stored_as and alone is not None:
            roles[alone] = architecture.role(first)
    return roles


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
        kept["shared"] = tuple(map(tuple, kept["shared"]))
        kept["optional"] = frozenset(kept["optional"])
        kept["unplaced"] = tuple(kept["unplaced"])
        return Inventory(**kept, roles=roles)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _keep(found: Inventory, path: Path) -> None:
    text = json.dumps({**vars(found), "optional": sorted(found.optional)})
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, written = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(written).replace(path)
        except OSError:
            Path(written).unlink(missing_ok=True)
