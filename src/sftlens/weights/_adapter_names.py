"""The names of an adapter's tensors, as peft saves them and as others do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from sftlens.weights._adapter_config import ends_in

PREFIX = "base_model.model."
BASE_LAYER = ".base_layer"
"""In the path of what a module with an update holds itself."""
_WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
"""What torch.compile, FSDP and its activation checkpoints put between the modules' names."""
_PARTS = re.compile(
    r"(?P<path>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|"
    r"lora_magnitude_vector|token_adapter\.trainable_tokens_delta)"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?P<end>\.weight|\.bias)?"
)
_WITHIN_WRAPPER = re.compile(r"\.(token_adapter\.base_layer|modules_to_save(\.default)?)\.")
_WITH_END = ("lora_A", "lora_B")


class AdapterNames(NamedTuple):
    """An adapter's tensors by what they are; the values are the names in its file."""

    updates: dict[str, dict[str, str]]
    """By module path and part, such as ``lora_A.weight``."""
    replaced: dict[str, str]
    """Those that stand in the place of a parameter, by its name."""
    other: list[str]
    """Names of parts of LoRA that peft's plain LoRA does not have."""
    adapters: list[str]
    """Names of adapters that stand in the tensors' names, which peft leaves out in saving."""
    respelt: str | None
    """A name that is not as peft saves it."""


def sort_names(names: Iterable[str]) -> AdapterNames:
    """What each tensor of an adapter is by its name.

    Understood are the names that ``save_pretrained`` gives, and those of a whole ``state_dict``:
    with the adapter's name, without peft's prefix, or with what wrappers of modules put between.
    """
    updates: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    other: list[str] = []
    adapters: set[str] = set()
    respelt = None
    for name in names:
        if ".original_module." in name:
            continue  # what a module held before it was trained whole
        plain = _unwrapped(name)
        if plain != name.removeprefix(PREFIX) or plain == name:
            respelt = respelt or name
        found = _PARTS.fullmatch(plain)
        if found is None:
            if ".lora_" in f".{plain}":
                other.append(name)
            else:
                # Where the vocabulary was resized, peft saves these parts of its wrappers beside.
                own = _WITHIN_WRAPPER.sub(".", plain)
                if own == plain or own not in replaced:
                    replaced[own] = name
            continue
        if found["adapter"]:
            adapters.add(found["adapter"])
            respelt = respelt or name
        end = (found["end"] or "") if found["part"] in _WITH_END else ""
        updates.setdefault(found["path"], {})[found["part"] + end] = name
    return AdapterNames(updates, replaced, other, sorted(adapters), respelt)


def _unwrapped(name: str) -> str:
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    plain = ".".join(parts).removeprefix("module.")
    return plain.removeprefix(PREFIX).removeprefix("module.")


def untrained(names: AdapterNames, modules: Iterable[str]) -> list[str]:
    """Return those of the modules that an adapter was to change of which it holds nothing."""
    owners = [path.replace(BASE_LAYER, "") for path in names.updates]
    owners += [spelt.rpartition(".")[0] for spelt in names.replaced]
    return sorted(name for name in modules if not any(ends_in(owner, name) for owner in owners))
