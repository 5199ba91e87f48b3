"""Stored tensors against the model that a configuration describes.

``transformers`` leaves out what the model has no place for, and draws what is missing at random,
with a warning each; the model that answers is then not the one that was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sftlens.errors import UserError
from sftlens.model_folder import CONFIG, listed, save_command

if TYPE_CHECKING:
    from torch import nn


def within_model(names: Iterable[str], module: Callable[[str], nn.Module | None]) -> list[str]:
    """Of tensors without a place, those that lie within what the model computes with.

    A bias of a layer that has none, a norm or a matrix of a block, a block beyond the last one. A
    tensor beside all modules (a value head, a vision tower, layers that predict further tokens) is
    none of them: the text model is whole without it.

    Args:
        names: of tensors that become no parameter, spelled as the model spells its own.
        module: the model's module at a path, or None.
    """
    return sorted(name for name in names if _is_within(name, module))


def require_fit(folder: Path, *, missing: Collection[str], unplaced: Collection[str]) -> None:
    """Refuse weights that are not those of the configuration's model.

    Args:
        folder: the model folder.
        missing: parameters that are not stored, or stored in another shape.
        unplaced: see :func:`within_model`.

    Raises:
        UserError: when there is one of either.
    """
    if missing:
        also = f"; it holds {listed(unplaced)} instead" if unplaced else ""
        raise UserError(
            f"{folder}: weights are missing or of another shape: {listed(missing)} "
            f"({len(missing)} in all){also}; give a complete checkpoint, with the {CONFIG} that it "
            "was saved with"
        )
    if unplaced:
        count = "1 tensor" if len(unplaced) == 1 else f"{len(unplaced)} tensors"
        raise UserError(
            f"{folder}: holds {count} that the model of its {CONFIG} has no place for "
            f"({listed(unplaced)}), so that another model would answer than the one stored; "
            f"correct {CONFIG} (layers, biases, model_type), or save the model without them: "
            f"{save_command(folder)}"
        )


def _is_within(name: str, module: Callable[[str], nn.Module | None]) -> bool:
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        owner = module(".".join(parts[:end]))
        if owner is not None:
            numbered = any(part.isdecimal() for part in parts[: end + 1])
            return numbered or not any(True for _ in owner.children())
    return False
