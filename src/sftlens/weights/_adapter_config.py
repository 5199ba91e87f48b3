"""What a PEFT adapter's configuration says, as far as a merge depends on it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlens.checkpoints import ADAPTER_CONFIG, read_json
from sftlens.errors import UserError

MERGE_FIRST = (
    "merge the adapter with peft first: "
    "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)"
)

_READ = {
    "peft_type",
    "task_type",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "init_lora_weights",
}
_WITHOUT_EFFECT = {
    # Which tensors are adapted is told by the tensors themselves, and how each is laid out by its
    # module; the rest is of training, of where the adapter came from, or part of a field above.
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "fan_in_fan_out",
    "bias",
    "lora_dropout",
    "inference_mode",
    "ensure_weight_tying",
    "eva_config",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "auto_mapping",
    "peft_version",
    "revision",
}
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
"""Initialisations that, like true and false, leave the base as it is."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The settings of a LoRA adapter that decide what its merge gives."""

    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    """Ranks of modules whose path ends in a match of the regular expression; the first counts."""
    alpha_pattern: Mapping[str, float]
    rslora: bool
    """Scale by alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732) instead of alpha / rank."""
    dora: bool
    """Weights are decomposed into magnitude and direction (DoRA, arXiv 2402.09353)."""
    bias: bool
    """Whether B has a bias, which is added to that of the module."""
    modules_to_save: tuple[str, ...]
    """Modules that were trained whole."""
    base_name: str
    """What the base was called in training, or an empty string."""

    def rank_of(self, path: str) -> int:
        """The rank of the module at ``path``."""
        rank: int = _first_match(self.rank_pattern, path, self.rank)
        return rank

    def scaling_of(self, path: str) -> float:
        """By how much B A is multiplied for the module at ``path``."""
        rank = self.rank_of(path)
        alpha: float = _first_match(self.alpha_pattern, path, self.alpha)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read ``adapter_config.json``.

    A field that this version does not know must be null, false or empty: with anything else the
    merge might mean something else than this version computes.

    Raises:
        UserError: when the adapter is no LoRA of a causal language model, and when a field has a
            value that is not supported or is no valid one.
    """
    path = folder / ADAPTER_CONFIG
    config = read_json(path)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UserError(
            f"{path}: peft_type is {kind!r}, and only 'LORA' is supported; {MERGE_FIRST}"
        )
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise UserError(
            f"{path}: task_type is {config['task_type']!r}; give the adapter of a causal language "
            "model ('CAUSAL_LM')"
        )
    for field, value in config.items():
        if field not in _READ | _WITHOUT_EFFECT and value not in (None, False, "", [], {}):
            raise UserError(
                f"{path}: {field} is {_short(value)}, which is not supported; {MERGE_FIRST}"
            )
    start = config.get("init_lora_weights")
    if start is not None and not isinstance(start, bool) and start not in _PLAIN_STARTS:
        raise UserError(
            f"{path}: init_lora_weights is {_short(start)}, which changes the base's weights or "
            f"the merge; {MERGE_FIRST}, or save the adapter as plain LoRA "
            "(path_initial_model_for_weight_conversion)"
        )
    return AdapterConfig(
        rank=_number(path, "r", config.get("r", 8), whole=True),
        alpha=_number(path, "lora_alpha", config.get("lora_alpha", 8)),
        rank_pattern=_pattern(path, "rank_pattern", config, whole=True),
        alpha_pattern=_pattern(path, "alpha_pattern", config),
        rslora=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        bias=bool(config.get("lora_bias")),
        modules_to_save=_names(path, "modules_to_save", config.get("modules_to_save")),
        base_name=str(config.get("base_model_name_or_path") or ""),
    )


def _first_match(pattern: Mapping[str, Any], path: str, default: Any) -> Any:
    for expression, value in pattern.items():
        if re.match(rf"(.*\.)?({expression})$", path):
            return value
    return default


def _pattern(path: Path, field: str, config: Mapping[str, Any], *, whole: bool = False) -> Any:
    found = config.get(field) or {}
    if not isinstance(found, dict):
        raise UserError(f"{path}: {field} is {_short(found)}, no table; save the adapter again")
    for expression, value in found.items():
        try:
            re.compile(expression)
        except re.error as error:
            raise UserError(
                f"{path}: {field} names {expression!r}, no regular expression ({error}); "
                "correct it, or save the adapter again"
            ) from None
        _number(path, f"{field} of {expression!r}", value, whole=whole)
    return found


def _number(path: Path, field: str, value: Any, *, whole: bool = False) -> Any:
    fits = type(value) is int or (type(value) is float and not whole and math.isfinite(value))
    if not fits or (whole and value < 1):
        kind = "a whole number above 0" if whole else "a number"
        raise UserError(f"{path}: {field} is {_short(value)}, not {kind}; save the adapter again")
    return value


def _names(path: Path, field: str, value: Any) -> tuple[str, ...]:
    names = value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: {field} is {_short(value)}, no list of names; save it again")
    return tuple(names)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
