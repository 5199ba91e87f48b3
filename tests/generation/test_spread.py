"""Which models are laid over several GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sftlens.checkpoints import open_checkpoint
from sftlens.generation._load import _is_spread


@pytest.mark.parametrize(
    ("num_devices", "memory_per_byte", "expected"),
    [(0, 0.5, False), (1, 0.5, False), (2, 0.5, True), (2, 1.1, True), (2, 1.3, False)],
)
def test_a_model_is_spread_where_one_gpu_cannot_hold_it(
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_devices: int,
    memory_per_byte: float,
    expected: bool,
) -> None:
    checkpoint = open_checkpoint(base)
    size = sum(tensor.end - tensor.begin for tensor in checkpoint.tensors.values())
    memory = int(size * memory_per_byte)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_devices)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, memory))
    assert _is_spread(checkpoint, None) is expected
    assert _is_spread(checkpoint, "float32") is expected  # as it is stored
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, memory // 2))
    assert _is_spread(checkpoint, "bfloat16") is expected
