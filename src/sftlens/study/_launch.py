"""What a configuration of ``accelerate launch`` asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError
from sftlens.study._checked import read_keys


class Launch(NamedTuple):
    """How the processes of a configuration train.

    Attributes:
        num_processes: of one machine, each on a GPU of its own; None where the file does not tell.
        shares_weights: whether each has a part of the weights, gradients and moments, and not all.
        offloads: whether these lie in main memory.
    """

    num_processes: int | None
    shares_weights: bool
    offloads: bool


def read_launch(path: Path) -> Launch:
    """Read a configuration of ``accelerate launch`` for a study, which starts it on one machine.

    Raises:
        UserError: when it is absent or no YAML, a number of it is none, or it is of several
            machines; file and key are named.
    """
    content = read_keys(path, "what `accelerate config` asks for")
    num_machines = _number(path, content, "num_machines") or 1
    if num_machines > 1:
        raise UserError(
            f"{path}: num_machines: {num_machines} would wait for the other machines, on which a "
            "study starts nothing; write num_machines: 1, and num_processes: the GPUs of one"
        )
    shared = content.get("fsdp_config")
    offloads = isinstance(shared, dict) and shared.get("fsdp_offload_params") is True
    is_sharded = content.get("distributed_type") == "FSDP"
    return Launch(
        _number(path, content, "num_processes"),
        shares_weights=is_sharded,
        offloads=is_sharded and offloads,
    )


def _number(path: Path, content: dict[Any, Any], key: str) -> int | None:
    value = content.get(key)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise UserError(f"{path}: {key}: {value!r} is refused, write a number from 1 on")
    return value
