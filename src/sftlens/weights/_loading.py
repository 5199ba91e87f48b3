"""Stored tensors put into the parameters of a loaded model, as ``from_pretrained`` does it."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sftlens.errors import UserError


class Loader:
    """Loads stored tensors into a model, by transformers' own conversion where it packs them.

    Args:
        model: a loaded model.
        names: of stored tensors, as checkpoints of it spell them.

    Raises:
        UserError: when a tensor becomes no parameter of the model.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            dot_natural_key,
            rename_source_key,
        )

        self._model = model
        self._parameters = dict(model.state_dict(keep_vars=True))
        steps = get_model_conversion_mapping(model) or []
        renamings = [step for step in steps if isinstance(step, WeightRenaming)]
        converters = [step for step in steps if isinstance(step, WeightConverter)]
        self._converters = {p: step for step in converters for p in step.source_patterns}
        self._patterns: dict[str, str | None] = {}
        self.groups: dict[str, list[str]] = defaultdict(list)
        """The names of the stored tensors that are loaded together, by a name for each group."""
        prefix = model.base_model_prefix
        for name in sorted(names, key=dot_natural_key):
            target, pattern = rename_source_key(
                name, renamings, converters, prefix, self._parameters
            )
            if target not in self._parameters and name in self._parameters:
                target, pattern = rename_source_key(name, [], [], prefix, self._parameters)
            if target not in self._parameters:
                raise UserError(
                    f"the loaded model has no parameter for {name!r}; load it from the tuned folder"
                )
            self._patterns[name] = pattern
            self.groups[target].append(name)

    def dtype(self, group: str) -> torch.dtype:
        """The type of the parameter that a group becomes."""
        found: torch.dtype = self._parameters[group].dtype
        return found

    def load(self, group: str, values: Mapping[str, Tensor]) -> None:
        """Set the parameters of a group.

        Args:
            group: a key of :attr:`groups`.
            values: the stored tensors by name, all those of the group.
        """
        with torch.no_grad():
            for target, loaded in self.converted(group, values).items():
                self._parameters[target].copy_(loaded)

    def converted(self, group: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the stored tensors of a group become in the model, by the parameters' names."""
        names = self.groups[group]
        pattern = self._patterns[names[0]]
        if pattern is None:
            return {group: values[names[0]]}
        converter = copy.deepcopy(self._converters[pattern])
        for name in names:
            converter.add_tensor(group, name, self._patterns[name], values[name])
        found = converter.convert(group, model=self._model, config=self._model.config)
        return {
            target: tensors[0] if isinstance(tensors, list) else tensors
            for target, tensors in found.items()
        }
