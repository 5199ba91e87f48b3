"""A PEFT LoRA adapter merged into its base, one tensor at a time."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sftlens.checkpoints import ADAPTER_FILE, Checkpoint, model_name, open_adapter
from sftlens.errors import UserError
from sftlens.headers import TensorInfo
from sftlens.weights._adapter_config import AdapterConfig, read_adapter_config
from sftlens.weights._adapter_match import Matcher
from sftlens.weights._adapter_merges import Lora, Merge
from sftlens.weights._architecture import Architecture
from sftlens.weights._lora import (
    LoraFactors,
    factor_dtype,
    merged_bias,
    merged_slice,
    merged_weight,
    with_rows,
)
from sftlens.weights._reading import FLOAT_DTYPES, WeightFiles

_PIECE = 1 << 22
_COMMIT = re.compile("[0-9a-f]{40}")


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
            value = _with_update(value, merge.lora, self._factors(merge.lora, dtype))
        if merge.bias is not None:
            bias, scaling = merge.bias
            value = merged_bias(value, self._of_adapter(bias, factor_dtype(dtype)), scaling)
        if merge.rows is not None:
            rows, places = merge.rows
            value = with_rows(value, self._of_adapter(rows, factor_dtype(dtype)), places)
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
    config = read_adapter_config(folder, base.folder)
    adapter = open_adapter(folder)
    merges, more = Matcher(adapter, config, base, architecture).match()
    _require_finite(adapter)
    notes = [f"the tuned model is the base with {model_name(folder)} merged in: {_told(merges)}"]
    return MergedAdapter(
        MergedFiles(base, adapter, merges),
        (*notes, *_of_another_base(config, base), *_rounded(base, merges), *more),
    )


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


def _with_update(base: Tensor, lora: Lora, factors: LoraFactors) -> Tensor:
    if lora.part is not None:
        return merged_slice(base, factors, lora.num_experts, lora.part)
    return merged_weight(base, factors, lora.layout)


def _of_another_base(config: AdapterConfig, base: Checkpoint) -> list[str]:
    """A note where the adapter names another base, or another commit of it."""
    called, revision = config.base_name, model_name(base.folder).partition("@")[2]
    if called and _last_part(called) == _last_part(model_name(base.folder)):
        both = _COMMIT.fullmatch(config.revision) and _COMMIT.fullmatch(revision)
        if not both or config.revision == revision:
            return []
        called = f"{called}@{config.revision}"
    if not called:
        return []
    return [
        f"the adapter names {called!r} as its base; it is merged into {model_name(base.folder)}"
    ]


def _require_finite(adapter: Checkpoint) -> None:
    files = WeightFiles(adapter)
    for name, info in adapter.tensors.items():
        pieces = torch.split(files.entries(info), _PIECE)
        if not all(bool(torch.isfinite(piece).all()) for piece in pieces):
            raise UserError(
                f"{adapter.folder / ADAPTER_FILE}: tensor {name!r} holds NaN or infinity; give an "
                "adapter of a training that did not diverge"
            )


def _told(merges: Mapping[TensorInfo, Merge]) -> str:
    num_stored = sum(merge.stored is not None for merge in merges.values())
    num_updated = sum(merge.lora is not None or merge.bias is not None for merge in merges.values())
    num_rows = sum(len(merge.rows[1]) for merge in merges.values() if merge.rows is not None)
    rows = f", {num_rows} rows replaced" if num_rows else ""
    return f"{num_updated} of its tensors updated, {num_stored} replaced{rows}"


def _last_part(name: str) -> str:
    called = model_name(Path(name)).partition("@")[0]
    return called.rstrip("/").rpartition("/")[2].lower()
