"""A PEFT LoRA adapter merged into its base, one tensor at a time."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sftlens.checkpoints import ADAPTER_FILE, Checkpoint, model_name, open_adapter
from sftlens.errors import UserError
from sftlens.headers import TensorInfo
from sftlens.weights._adapter_config import (
    MERGE_FIRST,
    AdapterConfig,
    read_adapter_config,
)
from sftlens.weights._architecture import Architecture, Role
from sftlens.weights._lora import Layout, LoraFactors, factor_dtype, merged_bias, merged_weight
from sftlens.weights._reading import FLOAT_DTYPES, WeightFiles

_PREFIX = "base_model.model."
_PARTS = re.compile(
    r"(?P<path>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|"
    r"lora_embedding_B|lora_magnitude_vector)"
)
_WRAPPED = ".base_layer."  # in the name of what a module with an update holds itself
_FACTORS: Mapping[Layout, tuple[str, str]] = {
    "linear": ("lora_A.weight", "lora_B.weight"),
    "conv1d": ("lora_A.weight", "lora_B.weight"),
    "embedding": ("lora_embedding_A", "lora_embedding_B"),
}


class Lora(NamedTuple):
    """The low-rank update of one stored tensor; the places are those in the adapter's file."""

    layout: Layout
    a: TensorInfo
    b: TensorInfo
    magnitude: TensorInfo | None
    scaling: float


class Merge(NamedTuple):
    """What the adapter does to one stored tensor of the base, in this order."""

    stored: TensorInfo | None = None  # taken instead of the base's entries
    lora: Lora | None = None  # added, to a weight
    bias: tuple[TensorInfo, float] | None = None  # B's bias and the scaling, added to a bias


class MergedFiles(WeightFiles):
    """The weight files of a base as if the adapter were merged into them.

    The places are those of the base's tensors. A tensor is merged whole when its entries are asked
    for, and each thread keeps the last one that it merged; all else is read from the mapped files.
    """

    def __init__(
        self, base: Checkpoint, adapter: Checkpoint, merges: Mapping[TensorInfo, Merge]
    ) -> None:
        super().__init__(base)
        self._adapter = WeightFiles(adapter)
        self._merges = merges
        self._last = threading.local()

    def entries(self, info: TensorInfo) -> Tensor:
        """All entries of a float tensor in the base's storage type, (num_entries,)."""
        if info not in self._merges:
            return super().entries(info)
        kept: tuple[TensorInfo, Tensor] | None = getattr(self._last, "kept", None)
        if kept is None or kept[0] != info:
            self._last.kept = kept = None  # never two merged tensors in memory
            self._last.kept = kept = info, self._merged(info)
        return kept[1]

    def stored_bytes(self, info: TensorInfo) -> Tensor:
        """The bytes of any tensor as they would be stored, (num_bytes,)."""
        if info not in self._merges:
            return super().stored_bytes(info)
        return self.entries(info).view(torch.uint8)

    @torch.no_grad()
    def _merged(self, info: TensorInfo) -> Tensor:
        merge = self._merges[info]
        dtype = FLOAT_DTYPES[info.dtype]
        if merge.stored is None:
            value = super().entries(info).view(info.shape)
        else:
            value = self._of_adapter(merge.stored, dtype)
        if merge.lora is not None:
            value = merged_weight(value, self._factors(merge.lora, dtype), merge.lora.layout)
        if merge.bias is not None:
            bias, scaling = merge.bias
            value = merged_bias(value, self._of_adapter(bias, factor_dtype(dtype)), scaling)
        return value.contiguous().view(-1)

    def _factors(self, lora: Lora, base_dtype: torch.dtype) -> LoraFactors:
        dtype = factor_dtype(base_dtype)
        magnitude = None if lora.magnitude is None else self._of_adapter(lora.magnitude, dtype)
        return LoraFactors(
            self._of_adapter(lora.a, dtype),
            self._of_adapter(lora.b, dtype),
            magnitude,
            lora.scaling,
        )

    def _of_adapter(self, info: TensorInfo, dtype: torch.dtype) -> Tensor:
        # A copy, so that products are of aligned memory, as they are in a loaded model.
        return self._adapter.entries(info).to(dtype, copy=True).view(info.shape)


class MergedAdapter(NamedTuple):
    """A base's files with an adapter merged in, and what to tell of it."""

    files: MergedFiles
    notes: tuple[str, ...]


def open_merged(folder: Path, base: Checkpoint, architecture: Architecture) -> MergedAdapter:
    """Match an adapter's tensors with those of a base.

    Args:
        folder: the adapter's folder, as ``PeftModel.save_pretrained`` writes it.
        base: the checkpoint to merge it into.
        architecture: the skeleton of that checkpoint's model.

    Raises:
        UserError: when the adapter is broken or of a kind that is not supported, and when a tensor
            of it has no counterpart or another shape; the message names the field or the tensor.
    """
    config = read_adapter_config(folder)
    adapter = open_adapter(folder)
    merges = _Matcher(adapter, config, base, architecture).merges()
    notes = [f"the tuned model is the base with {model_name(folder)} merged in: {_told(merges)}"]
    if config.base_name and _last_part(config.base_name) != _last_part(model_name(base.folder)):
        notes.append(
            f"the adapter names {config.base_name!r} as its base; it is merged into "
            f"{model_name(base.folder)}"
        )
    notes += _rounded(base, merges)
    return MergedAdapter(MergedFiles(base, adapter, merges), tuple(notes))


def _rounded(base: Checkpoint, merges: Mapping[TensorInfo, Merge]) -> list[str]:
    """Tell of whole tensors that the adapter stores in a type that cannot hold the base's values.

    The merged model holds them in the base's type, and so do the base and what is restored: there
    the rounding is a real difference between the two.
    """
    names = {info: name for name, info in base.tensors.items()}
    return [
        f"the adapter stores {names[info]!r} as {merge.stored.dtype}, the base as {info.dtype}: "
        f"what rounding to {merge.stored.dtype} did counts as a change there"
        for info, merge in merges.items()
        if merge.stored is not None and not _holds(merge.stored.dtype, info.dtype)
    ]


def _holds(dtype: str, other: str) -> bool:
    """Whether a storage type holds every value of another."""
    wide = FLOAT_DTYPES[dtype]
    return torch.promote_types(wide, FLOAT_DTYPES[other]) == wide


class _Target(NamedTuple):
    """A stored tensor of the base that the adapter changes."""

    path: str  # of the module, within the model
    role: Role
    info: TensorInfo


class _Matcher:
    """Finds the stored tensor that each tensor of an adapter changes."""

    def __init__(
        self,
        adapter: Checkpoint,
        config: AdapterConfig,
        base: Checkpoint,
        architecture: Architecture,
    ) -> None:
        self._file = adapter.folder / ADAPTER_FILE
        self._adapter, self._config, self._base = adapter, config, base
        self._architecture = architecture
        self._modules = dict(architecture.model.named_modules(remove_duplicate=False))
        roles = architecture.roles(base.tensors)
        self._stored = {role.canonical: name for name, role in roles.items()}

    def merges(self) -> dict[TensorInfo, Merge]:
        """What is done to each stored tensor that the adapter changes."""
        updates, replaced = self._sorted_out()
        changed = [spelt.replace(_WRAPPED, ".") for spelt in replaced]
        changed += [f"{path}.{kind}" for path in updates for kind in ("weight", "bias")]
        self._roles = self._architecture.roles(changed)
        merges: dict[TensorInfo, Merge] = {}
        for spelt, name in replaced.items():
            unwrapped = spelt.replace(_WRAPPED, ".")
            if (unwrapped != spelt) != (unwrapped.rpartition(".")[0] in updates):
                raise self._fault(
                    name, "is named as an older peft does, which newer ones pass over"
                )
            target = self._target(unwrapped, name)
            self._require_shape(name, target.info.shape, f"{unwrapped!r} of the base")
            merges[target.info] = Merge(stored=self._adapter.tensors[name])
        for path, parts in updates.items():
            self._add_update(merges, path, parts)
        return merges

    def _sorted_out(self) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
        """Names of the adapter's tensors: those of low-rank updates by module path and part, and
        those that replace a parameter by its name; paths and names as the adapter spells them."""
        updates: dict[str, dict[str, str]] = {}
        replaced: dict[str, str] = {}
        for name, info in self._adapter.tensors.items():
            if info.dtype not in FLOAT_DTYPES:
                raise self._fault(
                    name, f"is stored as {info.dtype}, no float type of 16 bits or more"
                )
            spelt = name.removeprefix(_PREFIX)
            found = _PARTS.fullmatch(spelt)
            if spelt == name or (found is None and ".lora_" in f".{spelt}"):
                raise self._fault(name, "is none that peft saves of a LoRA adapter")
            if found is not None:
                updates.setdefault(found["path"], {})[found["part"]] = name
            else:
                replaced[spelt] = name
        if not updates and not replaced:
            raise UserError(f"{self._file}: holds no tensors; save the adapter again")
        self._require_saved(replaced)
        return updates, replaced

    def _require_saved(self, replaced: Mapping[str, str]) -> None:
        for module in self._config.modules_to_save:
            # As in peft, a name stands for every module whose path ends in it.
            if not any(f"{module}." in spelt for spelt in replaced):
                raise UserError(
                    f"{self._file}: lacks the tensors of {module!r}, which modules_to_save names; "
                    "save the adapter again"
                )

    def _add_update(
        self, merges: dict[TensorInfo, Merge], path: str, parts: Mapping[str, str]
    ) -> None:
        some = next(iter(parts.values()))
        target = self._target(f"{path}.weight", some)
        layout = self._layout(target, some)
        wanted = [*_FACTORS[layout]]
        wanted += ["lora_magnitude_vector"] if self._config.dora else []
        wanted += ["lora_B.bias"] if self._config.bias else []
        for part in wanted:
            if part not in parts:
                raise UserError(
                    f"{self._file}: lacks {_PREFIX}{path}.{part}, and holds {some!r}; "
                    "save the adapter again"
                )
        for part in parts:
            if part not in wanted:
                raise self._fault(
                    parts[part], f"has no part in a {layout} layer of this configuration"
                )
        rank = self._config.rank_of(target.path)
        first, last = target.info.shape
        out, into = (first, last) if layout == "linear" else (last, first)
        shapes = {
            _FACTORS[layout][0]: (rank, into),
            _FACTORS[layout][1]: (out, rank),
            "lora_magnitude_vector": (out,),
            "lora_B.bias": (out,),
        }
        for part in wanted:
            self._require_shape(
                parts[part], shapes[part], f"rank {rank} and {list(target.info.shape)} in the base"
            )
        a, b, *_ = (self._adapter.tensors[parts[part]] for part in wanted)
        magnitude = self._adapter.tensors.get(parts.get("lora_magnitude_vector", ""))
        scaling = self._config.scaling_of(target.path)
        lora = Lora(layout, a, b, magnitude, scaling)
        merges[target.info] = merges.get(target.info, Merge())._replace(lora=lora)
        if self._config.bias:
            name = parts["lora_B.bias"]
            info = self._target(f"{path}.bias", name).info
            self._require_shape(name, info.shape, "the base's bias")
            bias = self._adapter.tensors[name], scaling
            merges[info] = merges.get(info, Merge())._replace(bias=bias)

    def _target(self, spelt: str, name: str) -> _Target:
        role = self._roles[spelt]
        if self._architecture.tied and role.kind in ("embedding", "head"):
            raise self._fault(
                name,
                "is for the embeddings or the head, which the base ties to each other, so that "
                "no merge can change one alone",
                f"untie them in the base and {MERGE_FIRST}",
            )
        stored = self._stored.get(role.canonical)
        if stored is None:
            raise self._fault(name, f"has no counterpart {role.canonical!r} in {self._base.folder}")
        info = self._base.tensors[stored]
        if info.dtype not in FLOAT_DTYPES:
            raise self._fault(name, f"is for {stored!r}, which the base stores as {info.dtype}")
        return _Target(role.canonical.rpartition(".")[0], role, info)

    def _layout(self, target: _Target, name: str) -> Layout:
        from transformers.pytorch_utils import Conv1D

        module = self._modules.get(target.path)
        layouts: dict[type[nn.Module], Layout] = {
            nn.Linear: "linear",
            Conv1D: "conv1d",
            nn.Embedding: "embedding",
        }
        for kind, layout in layouts.items():
            if isinstance(module, kind) and len(target.info.shape) == 2:
                return layout
        raise self._fault(
            name,
            f"is for {target.role.canonical!r}, in a module of class {type(module).__name__}, and "
            "only linear layers and embeddings are supported",
        )

    def _require_shape(self, name: str, shape: tuple[int, ...], what: str) -> None:
        found = self._adapter.tensors[name].shape
        if found != shape:
            raise self._fault(
                name,
                f"is of shape {list(found)} instead of {list(shape)} ({what})",
                "give the base that the adapter was trained on, with the vocabulary resized as it "
                f"was then, or {MERGE_FIRST}",
            )

    def _fault(self, name: str, fault: str, remedy: str = MERGE_FIRST) -> UserError:
        return UserError(f"{self._file}: tensor {name!r} {fault}; {remedy}")


def _told(merges: Mapping[TensorInfo, Merge]) -> str:
    num_stored = sum(merge.stored is not None for merge in merges.values())
    num_updated = sum(merge.lora is not None or merge.bias is not None for merge in merges.values())
    return f"{num_updated} of its tensors updated, {num_stored} replaced"


def _last_part(name: str) -> str:
    called = model_name(Path(name)).partition("@")[0]
    return called.rstrip("/").rpartition("/")[2].lower()
