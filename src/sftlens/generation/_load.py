"""A causal language model with its tokenizer, loaded without running anyone's code."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sftlens.checkpoints import Checkpoint, is_adapter, open_checkpoint, resolve_model
from sftlens.errors import UserError, shortened
from sftlens.generation._tokenizer import load_tokenizer
from sftlens.headers import DTYPE_BYTES
from sftlens.model_folder import listed
from sftlens.progress import quiet_libraries
from sftlens.storage_types import IN_HEADER, StorageType
from sftlens.tensor_fit import require_fit, within_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_SHARE_FOR_WEIGHTS = 0.85
"""Of a GPU's memory; the rest is for activations and caches."""


class LoadedModel(NamedTuple):
    """A model in evaluation mode, its tokenizer, and the folder that they came from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path


def load_model(
    source: str | Path, *, device: str | None = None, dtype: StorageType | None = None
) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        source: a Hugging Face folder or a hub id.
        device: such as ``cpu`` or ``cuda:1``; by default CUDA where there is a device, and several
            of them, layer by layer, for a model that does not fit into the memory of one.
        dtype: the type of the weights and of the arithmetic, by default the stored one.

    Returns:
        The model in evaluation mode.

    Raises:
        UserError: when the source is no causal language model with whole, finite safetensors
            weights and a tokenizer.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder = resolve_model(source)
    checkpoint = open_checkpoint(folder)
    spread = device is None and _is_spread(checkpoint, dtype)
    with quiet_libraries():
        tokenizer = load_tokenizer(folder)
    try:
        with quiet_libraries():
            model, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype or "auto",
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # told below, by name
                output_loading_info=True,
                device_map="auto" if spread else None,
            )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a config can fail in as many ways as it has fields
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{folder}: cannot be loaded as a causal language model ({reason})"
        ) from None
    absent = sorted(loading["missing_keys"]) + sorted(
        name for name, *_ in loading["mismatched_keys"]
    )
    modules = dict(model.named_modules(remove_duplicate=False))
    unexpected = loading["unexpected_keys"]
    within = within_model(unexpected, modules.get)
    require_fit(folder, missing=absent, unplaced=within)
    if unexpected:
        sys.stderr.write(
            shortened(
                f"{folder}: not loaded, since the model has no place for it: "
                f"{listed(sorted(unexpected))}\n"
            )
        )
    for name, parameter in model.named_parameters():
        if not parameter.is_meta and not torch.isfinite(parameter).all():
            raise UserError(
                f"{folder}: tensor {name} holds NaN or infinity; give a sound checkpoint"
            )
    if not spread:
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return LoadedModel(model.eval(), tokenizer, folder)


def load_tuned(base: Path, tuned: Path, *, dtype: StorageType | None = None) -> LoadedModel:
    """Load the tuned model of a pair; an adapter is merged into its base, bit for bit as peft does.

    Args:
        base: the base model's folder.
        tuned: the tuned model's folder, or that of a PEFT adapter of the base.
        dtype: as for :func:`load_model`; an adapter is merged in the base's own type all the same.

    Returns:
        The model with its tokenizer, which may be the adapter's own, and the folder that its
        weights were loaded from.

    Raises:
        UserError: when a folder is unusable, or the adapter does not fit the base.
    """
    if not is_adapter(tuned):
        return load_model(tuned, dtype=dtype)
    from sftlens.weights import Sweep, copy_companions, open_pair

    pair = open_pair(base, tuned)
    model, _, folder = load_model(base, dtype=dtype)
    Sweep(model, pair)  # merges the adapter
    with tempfile.TemporaryDirectory(prefix="sftlens-") as companions, quiet_libraries():
        copy_companions(pair, Path(companions))
        tokenizer = load_tokenizer(Path(companions), str(tuned))
    return LoadedModel(model, tokenizer, folder)


def _is_spread(checkpoint: Checkpoint, dtype: StorageType | None) -> bool:
    """Whether a model goes over several GPUs, since one cannot hold it and room to work."""
    import torch

    if torch.cuda.device_count() < 2:
        return False
    size = sum(
        tensor.end - tensor.begin
        if dtype is None
        else tensor.num_entries * DTYPE_BYTES[IN_HEADER[dtype]]
        for tensor in checkpoint.tensors.values()
    )
    return size > _SHARE_FOR_WEIGHTS * torch.cuda.mem_get_info(0)[1]
