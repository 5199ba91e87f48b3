"""Fine-tuning by several processes: loading, batches and saving."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftlens.errors import UserError
from sftlens.generation import LoadedModel, load_model, load_tokenizer
from sftlens.progress import quiet_libraries
from sftlens.team import Team
from sftlens.tuning._saving import save_model

if TYPE_CHECKING:
    import torch


def load_to_train(folder: Path) -> LoadedModel:
    """Load a base model for :func:`fine_tune`, in each of the processes that train it.

    Under FSDP with ``fsdp_cpu_ram_efficient_loading`` the weights are read by the first process of
    each machine alone, into main memory; the others have tensors without content (see
    :func:`without_weights`), and get their shards from it.

    Raises:
        UserError: as :func:`sftlens.generation.load_model`, and under FSDP of the first version.
    """
    team = Team.of_environment()
    if not is_sharded(team):
        team.join()
        return load_model(folder, device=team.device)
    if os.environ.get("FSDP_VERSION") != "2":
        raise UserError("the configuration has FSDP 1; write fsdp_version: 2 into its fsdp_config:")
    team.join()
    if team.local_rank and _is_set("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        return without_weights(folder)
    return load_model(folder, device="cpu")


def without_weights(folder: Path) -> LoadedModel:
    """A model as :func:`sftlens.generation.load_model` gives it, but for the weights.

    They are float32 in main memory that is asked for and never touched, which takes none. On the
    meta device they would have no addresses, by which accelerate tells them apart.
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet_libraries():
        config = AutoConfig.from_pretrained(folder, **local)
        tokenizer = load_tokenizer(folder)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model._apply(
        lambda tensor: torch.empty_like(tensor, device="cpu") if tensor.is_meta else tensor
    )
    model.tie_weights()
    return LoadedModel(model.eval(), tokenizer, folder)


def is_sharded(team: Team) -> bool:
    """Whether the processes train one model under FSDP."""
    return team.size > 1 and _is_set("ACCELERATE_USE_FSDP")


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true")


def shard_on_cpus() -> None:
    """Let accelerate shard over CPUs as it does over GPUs.

    It has FSDP for accelerators alone, though torch shards over CPUs too (gloo); so the processes
    are told to be those of accelerators. Called between the training arguments and the trainer.
    """
    from accelerate.state import DistributedType, PartialState

    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def share_of_batch(batch_size: int, team: Team) -> int:
    """How many facts of each step a process takes.

    Raises:
        UserError: when the batch cannot be shared out equally.
    """
    if batch_size % team.size:
        raise UserError(
            f"batch_size {batch_size} facts cannot be shared by {team.size} processes; "
            f"take a multiple of {team.size}, or fewer processes"
        )
    return batch_size // team.size


def equal_steps(trainer: Any, batch_size: int) -> None:
    """Let several processes take the very steps that one takes.

    Facts are drawn in the order of one process. The last step of an epoch, which each process must
    take with as many rows, is filled with rows of which no token counts.
    """
    from datasets import concatenate_datasets
    from torch.utils.data import Sampler

    facts = trainer.train_dataset
    filling = -len(facts) % batch_size
    if not filling:
        return
    order = trainer._get_train_sampler(facts)
    uncounted = facts.select([0] * filling).map(lambda row: {"labels": [-100] * len(row["labels"])})
    trainer.train_dataset = concatenate_datasets([facts, uncounted])

    from accelerate.data_loader import SeedableRandomSampler

    inner = SeedableRandomSampler(
        facts, generator=getattr(order, "generator", None), data_seed=trainer.args.seed
    )

    class Filled(Sampler[int]):
        def __len__(self) -> int:
            return len(facts) + filling

        def __iter__(self) -> Iterator[int]:
            yield from inner
            yield from range(len(facts), len(facts) + filling)

        def set_epoch(self, epoch: int) -> None:
            inner.set_epoch(epoch)

    sampler = Filled()
    trainer._get_train_sampler = lambda *_: sampler


def save_gathered(model: Any, dtype: torch.dtype, folder: Path, out: Path, team: Team) -> None:
    """Write the weights of a model whose parameters lie in shards, from the first process.

    Tensor by tensor they are gathered and turned into the dtype, so that main memory takes the
    stored model once, in the first process alone.
    """
    import torch
    from torch.distributed.tensor import DTensor
    from transformers import AutoModelForCausalLM

    tensors = model.state_dict()
    assert any(isinstance(tensor, DTensor) for tensor in tensors.values())
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if team.leads:
            whole[name] = full.to("cpu", dtype if full.is_floating_point() else None)
    if not team.leads:
        return
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(model.config, dtype=dtype)
    shell.generation_config = model.generation_config
    for name in shell.all_tied_weights_keys:
        whole.pop(name, None)
    save_model(shell, folder, out, state_dict=whole)
