#!/usr/bin/env bash
# gguf 0.19.0 (numpy 2.2.6): which 4-bit block type a model went through decides how many of its
# unpacked weights are exactly 0.
#
# Expected: unpacking a 4-bit file gives weights close to those that went in, zeros about as rare.
# What happens: types with one scale a block (Q4_0, Q5_0) have a level at 0 and send every small
# weight there; types with a scale and a minimum (Q4_1, Q5_1) have none, and zeros stay rare. Of
# normal weights without any zero:
#   Q4_0 11.56 % exactly 0, Q4_1 0.034 %, Q5_0 5.81 %, Q5_1 0.016 %
# A measure that divides by such a weight, such as a relative change, is decided by the block type.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "numpy==2.2.6" "gguf==0.19.0"
"$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

import gguf
import numpy as np

print("gguf", version("gguf"), "numpy", np.__version__)
weights = np.random.default_rng(0).normal(0, 0.02, (256, 1024)).astype(np.float32)
assert not (weights == 0).any()
found = {}
for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1"):
    kind = gguf.GGMLQuantizationType[name]
    unpacked = gguf.dequantize(gguf.quantize(weights, kind), kind)
    found[name] = float((unpacked == 0).mean())
    print(f"{name}: {100 * found[name]:.3f} % of the unpacked weights are exactly 0")
assert 0.10 < found["Q4_0"] < 0.13, found
assert 0.05 < found["Q5_0"] < 0.07, found
assert max(found["Q4_1"], found["Q5_1"]) < 0.001, found
PY
