"""A configuration of ``accelerate launch`` that starts two processes on CPUs."""

from __future__ import annotations

from pathlib import Path

import yaml

CONFIG = {
    "compute_environment": "LOCAL_MACHINE",
    "num_machines": 1,
    "num_processes": 2,
    "machine_rank": 0,
    "main_process_port": 0,
    "mixed_precision": "no",
}
FSDP = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_reshard_after_forward": True,
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_activation_checkpointing": True,
}


def fsdp_config(folder: Path, kind: str = "FSDP") -> Path:
    """Write the configuration; ``kind`` is accelerate's distributed type."""
    content = {**CONFIG, "distributed_type": kind, "use_cpu": kind == "MULTI_CPU"}
    if kind == "FSDP":
        content["fsdp_config"] = FSDP
    path = folder / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
