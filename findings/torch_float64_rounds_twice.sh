#!/usr/bin/env bash
# torch 2.13.0, numpy 2.2.6: a cast from float64 to a 16-bit float rounds twice in torch.
#
# Expected: the nearest value of the type, as IEEE 754 has it and as numpy's float16 gives it.
# What happens: torch goes through float32. A value just above the middle between two neighbours
# becomes the middle itself in float32, and then the even neighbour, which is the farther one:
#   1 + 2^-8 + 2^-40  to bfloat16: 1.0        (nearest: 1.0078125)
#   1 + 2^-11 + 2^-40 to float16:  1.0        (numpy and nearest: 1.0009765625)
# Two checkpoints that were cast from the same float64 weights by the two libraries may differ in
# such entries, though neither was trained.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "torch==2.13.0" "numpy==2.2.6"
"$work/venv/bin/python" - <<'PY'
import numpy as np
import torch

print("torch", torch.__version__, "numpy", np.__version__)
above = {torch.bfloat16: 1 + 2**-8 + 2**-40, torch.float16: 1 + 2**-11 + 2**-40}
found = {t: torch.tensor(v, dtype=torch.float64).to(t).item() for t, v in above.items()}
by_numpy = float(np.float16(above[torch.float16]))
print("torch:", found, "numpy float16:", by_numpy)
assert by_numpy == 1 + 2**-10
assert set(found.values()) == {1.0}
PY
