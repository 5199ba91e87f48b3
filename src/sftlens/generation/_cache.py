"""Keys and values that are written in place."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_ROOM = 8  # tokens that a layer has room for beyond those it holds, whenever it grows


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of a cache that has room for the tokens to come.

    The library's own layer copies all keys and values for every new token.

    Args:
        layer: what it takes over.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.dtype, self.device = layer.dtype, layer.device
        self._all_keys, self._all_values = layer.keys, layer.values
        self.is_initialized = True
        self._show(layer.keys.shape[-2])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add tokens; see :class:`transformers.cache_utils.DynamicLayer`."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        if end > self._all_keys.shape[-2]:
            self._all_keys = _larger(self.keys, end + _ROOM)
            self._all_values = _larger(self.values, end + _ROOM)
        self._show(end)
        self.keys[:, :, start:] = key_states
        self.values[:, :, start:] = value_states
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Take the rows named, in that order; a row may be named more than once."""
        length = self.keys.shape[-2]
        self._all_keys = self._all_keys.index_select(0, beam_idx)
        self._all_values = self._all_values.index_select(0, beam_idx)
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys = self._all_keys[:, :, :length]
        self.values = self._all_values[:, :, :length]


def make_room(cache: Any) -> None:
    """Let the layers of a cache that keep every token keep them in place."""
    if type(cache) is not DynamicCache or cache.offloading:
        return
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[number] = RoomyLayer(layer)


def _larger(states: torch.Tensor, length: int) -> torch.Tensor:
    num_rows, num_heads, held, size = states.shape
    larger = states.new_empty(num_rows, num_heads, length, size)
    larger[:, :, :held] = states
    return larger
