"""How fast devices are: measured rates, or assumed ones where nothing was measured."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from sftlens.storage_types import StorageType

Device = Literal["h200", "h100", "a100", "rtx-4090", "rtx-3090", "cpu"]


class Rates(BaseModel):
    """Tokens per second of one device; every completion counts with all tokens it may have, and
    every training fact with :data:`TOKENS_PER_FACT`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    probe: float = Field(gt=0, description="sampled tokens per second")
    train: float = Field(gt=0, description="training tokens per second")
    score: float = Field(gt=0, description="tokens of greedy answers per second")
    memory: float | None = Field(
        None, gt=0, description="bytes of a GPU that a job takes at its peak, where measured"
    )


class Told(NamedTuple):
    """Rates, and what they rest on."""

    rates: Rates
    rests_on: str  # in a word or two
    note: str | None = None


class _Speed(NamedTuple):
    flops: float  # per second in bfloat16, dense, of the data sheet
    flops32: float  # likewise in float32
    bandwidth: float  # bytes per second of its memory
    memory: float  # bytes


DEVICES: dict[Device, _Speed] = {
    "h200": _Speed(989e12, 67e12, 4.8e12, 141e9),
    "h100": _Speed(989e12, 67e12, 3.35e12, 80e9),
    "a100": _Speed(312e12, 19.5e12, 2.0e12, 80e9),
    "rtx-4090": _Speed(165e12, 82.6e12, 1.0e12, 24e9),
    "rtx-3090": _Speed(71e12, 35.6e12, 0.94e12, 24e9),
    "cpu": _Speed(0.1e12, 0.1e12, 20e9, 16e9),
}
assert set(DEVICES) == set(get_args(Device))

TOKENS_PER_FACT = 32
"""Tokens of a question with its answer, assumed."""

READ_BYTES_PER_SECOND = 1e9
"""Of checkpoints that are compared, assumed."""

TRAINING_BYTES = 16
"""Bytes of memory per parameter in training: float32 weights, gradients and two moments."""

_OF_FLOPS = 0.3
_OF_BANDWIDTH = 0.5
_SEQUENCES = 256  # decoded at once
_MOVED_BYTES = 40  # per parameter in a training step: weights twice, gradients, AdamW's update
_PASS_SECONDS = 0.02  # at least, of launching the work of a pass through the model
_STEP_SECONDS = 0.06

START_SECONDS = 5
"""Of a job that loads a model, beside reading its file; assumed."""


def assumed_rates(
    num_parameters: int, device: Device, batch_size: int, scored_in: StorageType = "bfloat16"
) -> Told:
    """Rates from the data sheet of a device.

    A pass takes the longer of its arithmetic at 30 % of the device's peak (2 operations a
    parameter and token, 6 in training) and the moving of the weights at half its bandwidth; at
    least 20 ms, and 60 ms in training.

    Args:
        num_parameters: of the model.
        device: what it runs on.
        batch_size: facts of a training step.
        scored_in: the type that models answer in; the probe is assumed in bfloat16.
    """
    speed = DEVICES[device]
    flops, bandwidth = _OF_FLOPS * speed.flops, _OF_BANDWIDTH * speed.bandwidth

    def generated(operations: float, value_bytes: int) -> float:
        pass_seconds = max(
            2 * num_parameters * _SEQUENCES / operations,
            value_bytes * num_parameters / bandwidth,
            _PASS_SECONDS,
        )
        return _SEQUENCES / pass_seconds

    probed = generated(flops, 2)
    scored = generated(_OF_FLOPS * speed.flops32, 4) if scored_in == "float32" else probed
    tokens = batch_size * TOKENS_PER_FACT
    step = max(
        6 * num_parameters * tokens / flops,
        _MOVED_BYTES * num_parameters / bandwidth,
        _STEP_SECONDS,
    )
    return Told(
        Rates(probe=probed, train=tokens / step, score=scored),
        "assumed",
        f"assumed rates are no measurement: {num_parameters:,} parameters on one {device} at 30 % "
        f"of its peak arithmetic and half its bandwidth, {_SEQUENCES} sequences at once, 20 ms a "
        "pass at least; --calibrate measures them, --rates takes measured ones",
    )
