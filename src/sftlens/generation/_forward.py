"""Forward passes of a model over a batch whose rows part and leave."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sftlens.generation._cache import make_room
from sftlens.generation._finite import NotFiniteError, require_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def keeps_cache(model: PreTrainedModel) -> bool:
    """Whether a model's past can be cut into rows: not that of one with a recurrent state."""
    known = inspect.signature(model.forward).parameters
    return "past_key_values" in known and not getattr(model, "_is_stateful", False)


class Forward:
    """The rows of a batch, and the model's logits after them.

    A model without a cache of keys and values reads each row anew for every token. Its rows must
    have one length, for what is padded would reach its state.

    Args:
        model: a causal language model in evaluation mode.
        pad: the token that shorter prompts are padded with.
    """

    def __init__(self, model: PreTrainedModel, pad: int) -> None:
        self._model = model
        self._pad = pad
        self._keeps_cache = keeps_cache(model)
        self._known = set(inspect.signature(model.forward).parameters)
        self._cache: Any = None
        self._ids: torch.Tensor | None = None  # of whole rows, where there is no cache
        self._mask: torch.Tensor | None = None
        self._prompt_of = np.zeros(0, dtype=np.int64)  # of each row

    def start(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Begin with one row a prompt.

        Returns:
            The logits after the prompts, (num_prompts, vocab_size).

        Raises:
            NotFiniteError: with the number of the first prompt whose logits are not finite.
        """
        self._prompt_of = np.arange(len(prompts))
        device = self._model.device
        longest = max(map(len, prompts))
        if min(map(len, prompts)) < longest:
            assert self._keeps_cache, "prompts of several lengths"
            mask = [[0] * (longest - len(own)) + [1] * len(own) for own in prompts]
            self._mask = torch.tensor(mask, device=device)
        rows = [[self._pad] * (longest - len(own)) + own for own in prompts]
        logits = self._logits(torch.tensor(rows, device=device))
        if self._keeps_cache:
            make_room(self._cache)
        return logits

    def step(self, parents: NDArray[np.int64], tokens: NDArray[np.int64]) -> torch.Tensor:
        """Go on with new rows.

        Args:
            parents: the row that each new row continues, (num_rows,).
            tokens: the token that it continues it with, (num_rows,).

        Returns:
            The logits after the new rows, (num_rows, vocab_size).

        Raises:
            NotFiniteError: as :meth:`start`.
        """
        device = self._model.device
        new = torch.from_numpy(tokens).to(device)[:, None]
        index = None
        if not np.array_equal(parents, np.arange(len(self._prompt_of))):
            index = torch.from_numpy(parents).to(device)
            self._prompt_of = self._prompt_of[parents]
        if self._ids is not None:
            past = self._ids if index is None else self._ids[index]
            return self._logits(torch.cat([past, new], dim=1))
        if index is not None:
            self._cache.reorder_cache(index)
            self._mask = None if self._mask is None else self._mask[index]
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(new), 1)], dim=1)
        return self._logits(new)

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        given = {
            "attention_mask": self._mask,
            "past_key_values": self._cache,
            "use_cache": self._keeps_cache,
            "logits_to_keep": 1,
        }
        if self._mask is not None:
            given["position_ids"] = (self._mask.cumsum(dim=1) - 1).clamp_(min=0)[:, -length:]
        output = self._model(
            input_ids=ids, **{name: value for name, value in given.items() if name in self._known}
        )
        if self._keeps_cache:
            self._cache = output.past_key_values
        else:
            self._ids = ids
        logits: torch.Tensor = output.logits[:, -1]
        try:
            require_finite(logits)
        except NotFiniteError as error:
            raise NotFiniteError(int(self._prompt_of[error.row]), error.fault) from None
        return logits
