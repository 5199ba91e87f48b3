"""What each stored tensor is in its model, read off the architecture."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from sftlens.checkpoints import CONFIG, read_json
from sftlens.errors import UserError, first_line
from sftlens.tensor_fit import within_model

Kind = Literal["block", "norm", "embedding", "head", "other"]
Part = Literal["attention", "mlp"]


class Role(NamedTuple):
    """What one stored tensor is in its model.

    ``canonical`` is the name under which the two checkpoints of a pair are aligned, ``parameter``
    that of the model's parameter which the tensor becomes on loading, whole or a part of it.
    ``kind`` is ``block`` for a parameter of a decoder block, ``norm`` for one of a norm within a
    block, ``embedding`` and ``head`` for the token embeddings and the output head, ``other`` for
    the rest (final norm, position embeddings, buffers). ``part`` divides the kind ``block``:
    ``attention`` is what mixes tokens (attention, or the linear attention, state-space mixer or
    short convolution in its place), ``mlp`` all else; None for other kinds, and for all of a model
    that has no such module. ``layer`` is the number of the decoder block, or None. ``module`` is
    the path within the block without a closing ``weight`` or ``bias``, such as ``mlp.down_proj``;
    experts that are stored one by one share ``mlp.experts.*.down_proj``, packed ones have the
    name of their tensor, ``mlp.experts.down_proj``. Outside of the blocks it is the path within
    the model. ``used`` is False for a stored tensor that the model has no parameter for.
    """

    canonical: str
    parameter: str
    kind: Kind
    part: Part | None
    layer: int | None
    module: str
    used: bool


class Architecture:
    """The skeleton of a model: its modules without weights.

    Args:
        folder: the model folder; only its configuration is read.

    Raises:
        UserError: when the configuration is none of a causal language model that ``transformers``
            knows, when the weights are quantised, or when no decoder blocks are found.
    """

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / CONFIG)
        if config.get("quantization_config"):
            raise UserError(
                f"{folder}: holds quantised weights, whose entries cannot be compared; "
                "give the model as it was before quantisation"
            )
        self.model = _skeleton(folder)
        self.model_type = str(self.model.config.model_type)
        self._blocks = _decoder_blocks(self.model, folder)
        self._modules = dict(self.model.named_modules(remove_duplicate=False))
        self._embeddings = self.model.get_input_embeddings()
        self._head = self.model.get_output_embeddings()
        self._ignored = _ignored_names(self.model)
        self._mixers = self._token_mixers()

    @property
    def tied(self) -> bool:
        """Whether the output head shares the token embeddings' weight."""
        if self._head is None or self._embeddings is None:
            return False
        return getattr(self._head, "weight", None) is self._embeddings.weight

    def roles(self, names: Iterable[str]) -> dict[str, Role]:
        """The role of each stored tensor, by its name."""
        spellings = _spellings(self.model, names)
        unique = len({own.stored for own in spellings.values()}) == len(spellings)
        return {
            name: self._role(own.stored if unique else name, own) for name, own in spellings.items()
        }

    def role(self, parameter: str) -> Role:
        """The role of a tensor that is stored under a parameter's own name."""
        return self._role(parameter, _Spelling(parameter, parameter))

    @property
    def parameters(self) -> dict[str, int]:
        """How many entries each parameter of the model has, by all of its names."""
        named = self.model.named_parameters(remove_duplicate=False)
        return {name: parameter.numel() for name, parameter in named}

    @property
    def shared(self) -> tuple[tuple[str, ...], ...]:
        """The names of each parameter that has several, that of the embeddings first."""
        groups: dict[int, list[str]] = defaultdict(list)
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            groups[id(parameter)].append(name)
        return tuple(
            tuple(sorted(names, key=lambda name: self.role(name).kind != "embedding"))
            for names in groups.values()
            if len(names) > 1
        )

    @property
    def optional(self) -> frozenset[str]:
        """The parameters that the model makes itself where they are not stored."""
        patterns = self.model._keys_to_ignore_on_load_missing or ()
        return frozenset(
            name for name in self.parameters if any(re.search(own, name) for own in patterns)
        )

    def unplaced(self, names: Iterable[str]) -> list[str]:
        """Stored tensors that lie within the model and become none of its parameters."""
        known = {*self.parameters, *dict(self.model.named_buffers(remove_duplicate=False))}
        spelt = {own.parameter: name for name, own in _spellings(self.model, names).items()}
        strange = (own for own in spelt if own not in known and not self._ignored(own))
        return [spelt[own] for own in within_model(strange, self._modules.get)]

    def _role(self, canonical: str, own: _Spelling) -> Role:
        path, rest = self._deepest_module(own.parameter)
        owner = self._modules[path]
        is_parameter, is_buffer = rest in owner._parameters, rest in owner._buffers
        layer, _ = self._place(own.parameter)
        # In a block, a tensor below no module of the skeleton was renamed or packed by the model;
        # one that its module merely does not have is left over from an older version.
        renamed = layer is not None and "." in rest and not self._ignored(own.parameter)
        kind: Kind = "other"
        if owner is self._embeddings:
            kind = "embedding"
        elif owner is self._head:
            kind = "head"
        elif layer is not None and (is_parameter or renamed):
            kind = "norm" if self._within_norm(path) else "block"
        part: Part | None = None
        if kind == "block" and self._mixers:
            part = "attention" if self._below_block(path) & self._mixers else "mlp"
        return Role(
            canonical,
            own.parameter,
            kind,
            part,
            layer,
            self._label(own.stored),
            is_parameter or is_buffer or renamed,
        )

    def _label(self, name: str) -> str:
        rest = self._deepest_module(name)[1]
        layer, within = self._place(name)
        if layer is not None:
            # A number below the last module of the skeleton is that of an expert.
            pooled = ["*" if part.isdecimal() else part for part in rest.split(".")]
            within = within.removesuffix(rest) + ".".join(pooled)
        return re.sub(r"\.(weight|bias)$", "", within)

    def _deepest_module(self, name: str) -> tuple[str, str]:
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            path = ".".join(parts[:end])
            if path in self._modules:
                return path, ".".join(parts[end:])
        return "", name

    def _place(self, name: str) -> tuple[int | None, str]:
        if name.startswith(f"{self._blocks}."):
            number, _, within = name[len(self._blocks) + 1 :].partition(".")
            if within and f"{self._blocks}.{number}" in self._modules:
                return int(number), within
        return None, name

    def _within_norm(self, path: str) -> bool:
        return any(_is_norm(self._modules[module]) for module in self._below_block(path))

    def _below_block(self, path: str) -> set[str]:
        """The module at a path within a block, and those it lies in, up to the block itself."""
        parts = path.split(".")
        block_depth = self._blocks.count(".") + 2
        return {".".join(parts[:end]) for end in range(block_depth + 1, len(parts) + 1)}

    def _token_mixers(self) -> frozenset[str]:
        """The paths of the modules within the blocks that mix tokens.

        They are known by what they are called with: what tells tokens apart (a mask), or what is
        kept of earlier ones. Where no module takes either, a recurrent ``state`` is that.
        """
        inside = {
            path: type(module)
            for path, module in self._modules.items()
            if path.startswith(f"{self._blocks}.") and self._below_block(path)
        }
        for arguments in (_MASK_OR_CACHE, {"state"}):
            classes = {cls for cls in set(inside.values()) if _takes_any(cls, arguments)}
            if classes:
                return frozenset(path for path, cls in inside.items() if cls in classes)
        return frozenset()


_MASK_OR_CACHE = {
    *("attention_mask", "past_key_values", "layer_past", "cache_params", "use_cache", "mems"),
}


def _takes_any(module: type[nn.Module], arguments: set[str]) -> bool:
    # A decoder layer within a block (Zamba) hands on what it is called with; its parts tell.
    return "DecoderLayer" not in module.__name__ and not arguments.isdisjoint(
        inspect.signature(module.forward).parameters
    )


class _Spelling(NamedTuple):
    """How the model spells a stored tensor."""

    stored: str  # as it is stored: one for each tensor
    parameter: str  # the parameter it becomes, or a part of


def _skeleton(folder: Path) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:
        # Whatever a configuration makes transformers raise is a fault of that configuration.
        reason = first_line(error)
        raise UserError(
            f"{folder / CONFIG}: is no causal language model that transformers can build ({reason})"
        ) from None


def _decoder_blocks(model: Any, folder: Path) -> str:
    """The path of the list that holds the decoder blocks: the largest that lies in no other."""
    outermost: dict[str, int] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(
            path.startswith(f"{outer}.") for outer in outermost
        ):
            outermost[path] = sum(parameter.numel() for parameter in module.parameters())
    decoder = _decoder_path(model)
    inside = {path: size for path, size in outermost.items() if path.startswith(decoder)}
    candidates = inside or outermost
    if not candidates:
        raise UserError(
            f"{folder}: {model.config.model_type} models have no list of decoder blocks"
        )
    largest = max(candidates, key=lambda path: candidates[path])
    lengths = {path: len(model.get_submodule(path)) for path in candidates}
    for path, size in candidates.items():
        same_length = path != largest and lengths[path] == lengths[largest]
        if same_length and size * 10 > candidates[largest]:
            raise UserError(
                f"{folder}: a {model.config.model_type} model spreads its decoder blocks over "
                f"several lists ({largest}, {path}), which is not supported"
            )
    return largest


def _decoder_path(model: Any) -> str:
    try:
        decoder = model.get_decoder()
    except (AttributeError, NotImplementedError):
        return ""
    paths = [path for path, module in model.named_modules() if module is decoder]
    return f"{paths[0]}." if paths and paths[0] else ""


def _is_norm(module: nn.Module) -> bool:
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
        return True
    name = type(module).__name__
    if name.endswith("Norm"):
        return True
    return "Norm" in name and all(parameter.ndim <= 1 for parameter in module.parameters())


_FORMER_BUFFERS = (r"rotary_emb\.inv_freq$", r"(^|\.)position_ids$")
"""What older versions stored of every model, and newer ones pass over."""


def _ignored_names(model: Any) -> Callable[[str], bool]:
    patterns = [*(model._keys_to_ignore_on_load_unexpected or ()), *_FORMER_BUFFERS]
    compiled = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    return lambda name: compiled.search(name) is not None


def _spellings(model: Any, names: Iterable[str]) -> dict[str, _Spelling]:
    """The model's own name for each stored tensor.

    Checkpoints may spell names differently than the modules (a missing prefix, an older spelling,
    experts stored one by one but packed in memory); transformers' own conversion on loading tells
    which parameter a tensor becomes.
    """
    rename = _transformers_renaming(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    return {
        name: _Spelling(*(_with_prefix(spelt, model, modules) for spelt in rename(name)))
        for name in sorted(names, key=_natural_order)
    }


def _transformers_renaming(model: Any) -> Callable[[str], tuple[str, str]]:
    """(name after renaming, name after renaming and packing), as transformers loads it."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            rename_source_key,
        )

        steps = get_model_conversion_mapping(model) or []
    except (ImportError, AttributeError, TypeError):
        # Internals of transformers: without them names are placed by their path alone.
        return lambda name: (name, name)
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters = [step for step in steps if isinstance(step, WeightConverter)]

    def rename(name: str) -> tuple[str, str]:
        renamed, _ = rename_source_key(name, renamings, [])
        packed, _ = rename_source_key(renamed, [], converters)
        return renamed, packed

    return rename


def _with_prefix(name: str, model: Any, modules: dict[str, nn.Module]) -> str:
    """The name with the base model's prefix added or removed, whichever the skeleton knows."""
    prefix = f"{model.base_model_prefix}."
    spellings = [name, prefix + name]
    if name.startswith(prefix):
        spellings.append(name.removeprefix(prefix))

    def depth(spelling: str) -> int:
        parts = spelling.split(".")
        owner = next(
            (end for end in range(len(parts) - 1, 0, -1) if ".".join(parts[:end]) in modules), 0
        )
        return owner - len(parts)  # 0 parts left over is best

    return max(spellings, key=depth)


def _natural_order(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in name.split(".")]
