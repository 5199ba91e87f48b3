"""Logits that are numbers: nothing is drawn, scored or compared from others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftlens.errors import UserError
from sftlens.model_folder import save_command

if TYPE_CHECKING:
    import torch

_SHOWN = 40  # characters of a prompt


class NotFiniteError(Exception):
    """A row of logits is no distribution.

    Attributes:
        row: its number; in :mod:`sftlens.generation` that of its prompt.
        fault: what it holds.
    """

    def __init__(self, row: int, fault: str) -> None:
        super().__init__(fault)
        self.row, self.fault = row, fault


def require_finite(logits: torch.Tensor) -> None:
    """Check that each row has a highest logit, which NaN and infinity leave none.

    A token that is ruled out has a logit of minus infinity, and may.

    Args:
        logits: (num_rows, vocab_size).

    Raises:
        NotFiniteError: for the first row that has none.
    """
    highest = logits.amax(dim=-1)
    finite = highest.isfinite()
    if bool(finite.all()):
        return
    row = int((~finite).nonzero()[0, 0])
    value = float(highest[row])
    raise NotFiniteError(row, "NaN" if value != value else "infinity")


def not_finite(model: Any, prompt: str, fault: str) -> UserError:
    """Return the refusal of a model whose logits are not finite.

    Args:
        model: the model.
        prompt: what it was given.
        fault: what its logits hold.
    """
    import torch

    folder = getattr(model, "name_or_path", "")
    shown = prompt if len(prompt) <= _SHOWN else prompt[:_SHOWN] + "…"
    if model.dtype == torch.float16:
        cure = "its activations overflow float16; give it in float32 or bfloat16"
        if folder and Path(folder).is_dir():
            cure += f": {save_command(Path(folder), dtype='float32')}"
    else:
        stored = str(model.dtype).removeprefix("torch.")
        cure = f"its weights ({stored}) are damaged or its training diverged; give another model"
    named = f"{folder}: " if folder else ""
    return UserError(f"{named}the logits hold {fault} after the prompt {shown!r}: {cure}")
