"""What a PEFT adapter's configuration says, as far as a merge depends on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.checkpoints import ADAPTER_CONFIG, read_json
from sftlens.errors import UserError
from sftlens.weights._expressions import PathPattern
from sftlens.weights._remedies import IN_TRAINING, merge_command

MAX_NUMBER = 1 << 31
"""Ranks and scales from here on are refused: no memory holds such an update."""

_READ = {
    "peft_type",
    "task_type",
    "base_model_name_or_path",
    "revision",
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "target_modules",
    "target_parameters",
    "trainable_token_indices",
    "init_lora_weights",
}
_WITHOUT_EFFECT = {
    # Which modules are adapted is told by the tensors themselves, and how each is laid out by its
    # module; the rest is of training, of where the adapter came from, or part of a field above.
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
}
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
"""Initialisations that, like true and false, leave the base as it is."""
_REPEATABLE_STARTS = ("pissa", "olora", "mica", "loftq")
"""Initialisations that peft computes from the base alone, so that its merge repeats them."""

_NOT_WEIGHTS = {
    *("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "P_TUNING"),
    *("PREFIX_TUNING", "PROMPT_TUNING", "XLORA", "POLY"),
}
"""Methods that peft merges into no weights."""
_NEVER_MERGED = {
    "alora_invocation_tokens": "acts only after the tokens that invoke it",
    "arrow_config": "routes each token to other updates",
    "layer_replication": "gives the model other layers than the base has, so that the two cannot "
    "be compared",
}
_TRAIN_ANOTHER = "train an adapter of plain LoRA to compare it"


class Pattern(NamedTuple):
    """One entry of ``rank_pattern`` or ``alpha_pattern``."""

    expression: str
    pattern: PathPattern
    value: Any


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The settings of a LoRA adapter that decide what its merge gives."""

    path: Path
    rank: int
    alpha: float
    rank_pattern: tuple[Pattern, ...]
    """Ranks of modules whose path ends in a match of the regular expression; the first counts."""
    alpha_pattern: tuple[Pattern, ...]
    rslora: bool
    """Scale by alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732) instead of alpha / rank."""
    dora: bool
    """Weights are decomposed into magnitude and direction (DoRA, arXiv 2402.09353)."""
    bias: bool
    """Whether B has a bias, which is added to that of the module."""
    modules_to_save: tuple[str, ...]
    """Modules that were trained whole."""
    target_modules: tuple[str, ...]
    """Names of the modules that were to get an update; empty where an expression chose them."""
    target_parameters: tuple[str, ...]
    """Names of parameters that were to get an update themselves, such as packed experts."""
    token_rows: Mapping[str, tuple[int, ...]] | tuple[int, ...] | None
    """Rows that were trained: of the embeddings, or by the name of the module."""
    base_name: str
    """What the base was called in training, or an empty string."""
    revision: str
    """The revision of the base, or an empty string."""

    def ranks_of(self, path: str) -> list[int]:
        """The ranks that the module or parameter at ``path`` may have; peft takes the first."""
        return self._values(self.rank_pattern, "rank_pattern", path) or [self.rank]

    def alphas_of(self, path: str) -> list[float]:
        """The alphas that it may have; peft takes the first."""
        return self._values(self.alpha_pattern, "alpha_pattern", path) or [self.alpha]

    def scaling(self, alpha: float, rank: int) -> float:
        """By how much B A is multiplied."""
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank

    def rows_of(self, path: str) -> tuple[int, ...] | None:
        """The rows of the module at ``path`` that were trained."""
        rows = self.token_rows
        if not isinstance(rows, Mapping):
            return rows
        return next((rows[name] for name in rows if ends_in(path, name)), None)

    def _values(self, patterns: Sequence[Pattern], field: str, path: str) -> list[Any]:
        found = []
        for expression, pattern, value in patterns:
            try:
                if pattern.matches(path):
                    found.append(value)
            except ValueError as error:
                raise _expression_fault(self.path, field, expression, error) from None
        return found


def ends_in(path: str, name: str) -> bool:
    """Whether a module's path is a name or ends in it, as peft matches names."""
    return path == name or path.endswith(f".{name}")


def read_adapter_config(folder: Path, base: Path) -> AdapterConfig:
    """Read ``adapter_config.json``.

    A field that this version does not know must be null, false or empty: with anything else the
    merge might mean something else than this version computes.

    Args:
        folder: the adapter's folder.
        base: that of the base, for the commands that errors name.

    Raises:
        UserError: when the adapter is no LoRA of a causal language model, and when a field has a
            value that is not supported or is no valid one.
    """
    path = folder / ADAPTER_CONFIG
    config = read_json(path)
    merge = f"merge the adapter with peft and give FOLDER: {merge_command(base, folder)}"
    _require_lora(path, config, merge)
    for field, value in config.items():
        if field in _READ | _WITHOUT_EFFECT or value in (None, False, "", [], {}):
            continue
        if field in _NEVER_MERGED:
            raise UserError(
                f"{path}: {field} is {_short(value)}: the adapter {_NEVER_MERGED[field]}; "
                f"{_TRAIN_ANOTHER}"
            )
        raise UserError(f"{path}: {field} is {_short(value)}, which is not supported; {merge}")
    start = config.get("init_lora_weights")
    if start is not None and not isinstance(start, bool) and start not in _PLAIN_STARTS:
        told = f"{path}: init_lora_weights is {_short(start)}, which "
        if start in _REPEATABLE_STARTS:
            raise UserError(f"{told}changes the base's weights or the merge; {merge}")
        raise UserError(
            f"{told}changes the base's weights in training in a way that peft cannot repeat when "
            f"it loads the adapter; {IN_TRAINING}"
        )
    return AdapterConfig(
        path=path,
        rank=_number(path, "r", config.get("r", 8), whole=True),
        alpha=_number(path, "lora_alpha", config.get("lora_alpha", 8)),
        rank_pattern=_patterns(path, "rank_pattern", config, whole=True),
        alpha_pattern=_patterns(path, "alpha_pattern", config),
        rslora=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        bias=bool(config.get("lora_bias")),
        modules_to_save=_names(path, config, "modules_to_save"),
        target_modules=_names(path, config, "target_modules", expression=True),
        target_parameters=_names(path, config, "target_parameters"),
        token_rows=_token_rows(path, config.get("trainable_token_indices")),
        base_name=str(config.get("base_model_name_or_path") or ""),
        revision=str(config.get("revision") or ""),
    )


def _require_lora(path: Path, config: Mapping[str, Any], merge: str) -> None:
    kind = config.get("peft_type")
    if kind in _NOT_WEIGHTS:
        raise UserError(
            f"{path}: peft_type is {kind!r}, which changes no weights that could be compared; "
            f"{_TRAIN_ANOTHER}"
        )
    if kind != "LORA":
        raise UserError(f"{path}: peft_type is {_short(kind)}, and only 'LORA' is read; {merge}")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise UserError(
            f"{path}: task_type is {_short(config['task_type'])}; give the adapter of a causal "
            "language model ('CAUSAL_LM')"
        )


def _patterns(
    path: Path, field: str, config: Mapping[str, Any], *, whole: bool = False
) -> tuple[Pattern, ...]:
    table = config.get(field) or {}
    if not isinstance(table, dict):
        raise UserError(f"{path}: {field} is {_short(table)}, no table; save the adapter again")
    patterns = []
    for expression, value in table.items():
        try:
            pattern = PathPattern(expression)
        except ValueError as error:
            raise _expression_fault(path, field, expression, error) from None
        value = _number(path, f"{field} of {_short(expression)}", value, whole=whole)
        patterns.append(Pattern(expression, pattern, value))
    return tuple(patterns)


def _expression_fault(path: Path, field: str, expression: str, error: ValueError) -> UserError:
    return UserError(
        f"{path}: {field} names {_short(expression)}, which {error}; write the modules' names in "
        "its place"
    )


def _number(path: Path, field: str, value: Any, *, whole: bool = False) -> Any:
    fits = type(value) is int or (type(value) is float and not whole and math.isfinite(value))
    if not fits or (whole and value < 1):
        kind = "a whole number above 0" if whole else "a number"
        raise UserError(f"{path}: {field} is {_short(value)}, not {kind}; save the adapter again")
    if abs(value) >= MAX_NUMBER:
        raise UserError(
            f"{path}: {field} is {_short(value)}, not below {MAX_NUMBER:,}; save the adapter again"
        )
    return value


def _names(
    path: Path, config: Mapping[str, Any], field: str, *, expression: bool = False
) -> tuple[str, ...]:
    names = config.get(field) or []
    if expression and isinstance(names, str):
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"{path}: {field} is {_short(names)}, no list of names; save the adapter again"
        )
    return tuple(names)


def _token_rows(path: Path, value: Any) -> Mapping[str, tuple[int, ...]] | tuple[int, ...] | None:
    if value is None or value in ([], {}):
        return None
    tables = value if isinstance(value, dict) else {"": value}
    for rows in tables.values():
        valid = isinstance(rows, list) and all(type(row) is int and row >= 0 for row in rows)
        if not valid:
            raise UserError(
                f"{path}: trainable_token_indices is {_short(value)}, no list of token ids; "
                "save the adapter again"
            )
    if isinstance(value, dict):
        return {name: tuple(rows) for name, rows in value.items()}
    return tuple(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
