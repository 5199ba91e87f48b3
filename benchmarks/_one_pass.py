"""Read both checkpoints once and compute every relative change, in plain torch: the yardstick.

usage: python _one_pass.py BASE TUNED
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import safe_open

CHUNK = 1 << 20


def main() -> None:
    base, tuned = map(Path, sys.argv[1:])
    largest = torch.tensor(0.0)
    for path in sorted(tuned.glob("*.safetensors")):
        with safe_open(base / path.name, "pt") as before, safe_open(path, "pt") as after:
            for name in after.keys():  # noqa: SIM118
                for b, t in zip(
                    before.get_tensor(name).view(-1).split(CHUNK),
                    after.get_tensor(name).view(-1).split(CHUNK),
                    strict=True,
                ):
                    values = b.float()
                    change = (t.float() - values).abs_().div_(values.abs_().add_(1e-8))
                    # Thrown away; asked for, so that nothing can skip the pass.
                    largest = torch.maximum(largest, change.amax())
    print(f"largest relative change {largest.item():.3g}")


if __name__ == "__main__":
    main()
