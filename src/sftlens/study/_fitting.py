"""How large the base is, whether its training fits, and how many jobs with it at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sftlens.checkpoints import open_checkpoint
from sftlens.memory import available_bytes
from sftlens.study._file import StudyFile
from sftlens.study._launch import Launch, read_launch
from sftlens.study._rates import DEVICES, TRAINING_BYTES
from sftlens.world import PRESETS

_GB = 1e9
_SHARE = 0.9  # of the memory; the rest is left to others
_DEVICE_BYTES = 2_500_000_000
"""Of a job on a GPU beside what training takes by the parameter: CUDA's own, activations, and the
cache of a batch; assumed."""

_OWN_DEVICE_BYTES = 600_000_000
"""Of a process on a GPU, where the rest was measured; assumed."""

_PROCESS_BYTES = 1_500_000_000
"""Of main memory that a worker takes with its libraries and tables, assumed; workers with models of
a few million parameters took 1.0 to 1.2 GB."""


class Size(NamedTuple):
    """A base model's size, as far as it is known before it is here.

    Attributes:
        num_parameters: of the model.
        num_bytes: of its files.
        rests_on: where the numbers are from.
    """

    num_parameters: int | None
    num_bytes: int | None
    rests_on: str


class Machine(NamedTuple):
    """What jobs have on one machine.

    Attributes:
        cores: that this process may use.
        memory: bytes of main memory that are available; None where the system does not tell.
        devices: bytes of memory of each visible GPU.
    """

    cores: int
    memory: int | None
    devices: tuple[int, ...] = ()


def model_size(study: StudyFile) -> Size:
    """The size of a study's base: of a scale model from its preset, else from its files."""
    stated = study.estimate.num_parameters
    if study.scale is not None:
        preset = study.scale.pretrain.preset
        shape = PRESETS[preset]
        width, inner = shape.hidden_size, shape.intermediate_size
        block = 4 * width * width + 3 * width * inner + 2 * width
        number = 2 * shape.vocab_size * width + shape.num_layers * block + width
        return Size(number, 4 * number, f"preset {preset}, float32")
    assert study.base is not None
    folder = Path(study.base).expanduser()
    if folder.is_dir():
        tensors = open_checkpoint(folder).tensors.values()
        number = sum(tensor.num_entries for tensor in tensors)
        return Size(number, sum(t.end - t.begin for t in tensors), "the files of the base")
    if stated is None:
        return Size(None, None, "unknown")
    return Size(stated, 2 * stated, "num_parameters of the study file, two bytes each")


def jobs_that_fit(memory: float, num_parameters: int, measured: float | None = None) -> int:
    """How many jobs fit on one GPU together, at least one.

    Args:
        memory: bytes of the GPU.
        num_parameters: of the model.
        measured: bytes that a job was seen to take; else they are reckoned from the parameters.
    """
    needed: float
    if measured is None:
        needed = TRAINING_BYTES * num_parameters + _DEVICE_BYTES
    else:
        needed = measured + _OWN_DEVICE_BYTES
    return max(1, int(_SHARE * memory / needed))


def training_notes(study: StudyFile, size: Size) -> list[str]:
    """Where the training of a study does not fit on its device, and what it takes of several.

    Raises:
        UserError: as :func:`sftlens.study._launch.read_launch`.
    """
    notes = []
    memory = DEVICES[study.estimate.device].memory
    there = f"one {study.estimate.device} has {memory / _GB:g} GB"
    if size.num_parameters is not None and set(study.strategies) != {"lora"}:
        needed = TRAINING_BYTES * size.num_parameters
        if study.launch is not None:
            notes.append(_launched_note(read_launch(study.launch), needed, memory, there))
        elif needed > memory:
            notes.append(
                f"fine-tuning does not fit: it takes {needed / _GB:,.0f} GB, {there}, and without "
                "launch: a run trains on one device"
            )
    stored = size.num_bytes or 0
    if "lora" in study.strategies and stored > _SHARE * memory:
        notes.append(
            f"LoRA does not fit: it takes the base's {stored / _GB:,.0f} GB and room to "
            f"work, {there}, and LoRA trains on one device, launch: or not; leave lora out of "
            "strategies:"
        )
    return notes


def _launched_note(launch: Launch, needed: float, memory: float, there: str) -> str:
    in_all = f"{needed / _GB:,.0f} GB"
    number = launch.num_processes
    if launch.offloads:
        return f"fine-tuning goes through launch:, and keeps {in_all} in main memory"
    if not launch.shares_weights:
        if needed <= memory:
            return f"fine-tuning goes through launch: and takes {in_all} on each GPU; {there}"
        return (
            f"fine-tuning does not fit: it takes {in_all} on each GPU, as launch: shares no "
            f"weights, and {there}; write distributed_type: FSDP into it"
        )
    if number is None:
        return (
            f"fine-tuning takes {in_all}, shared by the GPUs of launch:, which does not say how "
            "many; write num_processes: into it"
        )
    shared = (
        f"{in_all} shared by the {number} GPUs of launch:, {needed / number / _GB:,.0f} GB each"
    )
    if needed / number <= memory:
        return f"fine-tuning takes {shared}, without activations; {there}"
    return (
        f"fine-tuning does not fit: it takes {shared}, and {there}; take more GPUs, or write "
        "fsdp_offload_params: true into launch:"
    )


def jobs_at_a_time(
    machine: Machine, num_parameters: int | None, *, threads: int = 1, measured: float | None = None
) -> int:
    """How many jobs a machine does at a time, at least one.

    On GPUs as many as fit into the memory of each, as long as there is a core for every job's
    threads; at least one a GPU. Without, as many as there are cores for, and main memory.

    Args:
        machine: what there is.
        num_parameters: of the model; None where it is not known, which gives one a GPU, or one.
        threads: of a job.
        measured: bytes of a GPU that a job was seen to take, where that is known.
    """
    if num_parameters is None:
        return len(machine.devices) or 1
    by_cores = machine.cores // threads
    main = _PROCESS_BYTES if machine.devices else TRAINING_BYTES * num_parameters + _PROCESS_BYTES
    room = by_cores if machine.memory is None else int(_SHARE * machine.memory / main)
    found = min(by_cores, room)
    if not machine.devices:
        return max(1, found)
    fit = min(jobs_that_fit(memory, num_parameters, measured) for memory in machine.devices)
    return max(len(machine.devices), min(found, fit * len(machine.devices)))


def this_machine() -> Machine:
    """The machine that this process runs on."""
    import torch

    devices = range(torch.cuda.device_count())
    return Machine(
        cores=_num_cores(),
        memory=available_bytes(),
        devices=tuple(torch.cuda.get_device_properties(n).total_memory for n in devices),
    )


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
