"""Run the official restoration code for one share, and tell where its time goes.

The code is github.com/UmeanNever/ParamRestore, `param_restore.py`; it is run as it is.

usage: python _official.py CODE BASE TUNED OUT SHARE DTYPE
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
import types
from pathlib import Path
from typing import Any

STEPS = {
    "load": r"Loaded models in ([\d.]+)s",
    "difference": r"Built flat diff: .* in ([\d.]+)s",
    "select": r"Selected k_count=.* in ([\d.]+)s",
    "restore and save": r"Restored \+ saved model in ([\d.]+)s",
}


def main() -> None:
    code, base, tuned, out, share, dtype = sys.argv[1:]
    if importlib.util.find_spec("fire") is None:
        # It parses the code's own command line, which is not used here.
        sys.modules["fire"] = types.ModuleType("fire")
    sys.path.insert(0, code)
    import param_restore  # type: ignore[import-not-found]
    from transformers import PreTrainedModel

    save = PreTrainedModel.save_pretrained
    saving = 0.0

    def timed(*arguments: Any, **named: Any) -> None:
        nonlocal saving
        begin = time.perf_counter()
        save(*arguments, **named)
        saving += time.perf_counter() - begin

    PreTrainedModel.save_pretrained = timed
    log = Path(out).with_name("official.log")
    log.unlink(missing_ok=True)
    param_restore.run(
        target_model_path=tuned,
        original_model_path=base,
        output_path=out,
        k_percent=float(share),
        dtype=dtype,
        log_path=str(log),
        verbose=False,
    )
    told = log.read_text()
    found = {step: re.search(pattern, told) for step, pattern in STEPS.items()}
    seconds = {step: float(match[1]) for step, match in found.items() if match}
    print(json.dumps({**seconds, "save": round(saving, 2)}))


if __name__ == "__main__":
    main()
