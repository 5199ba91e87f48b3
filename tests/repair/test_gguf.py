"""The weights of a repaired model in llama.cpp's format.

transformers reads it back, and the model answers as before. The vocabulary is not
written: it is a copy of the tuned model's files, and no part of what a repair changes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from sftlens.repair import RepairResult

pytest.importorskip("gguf")

from tiny_gguf import write_llama


def test_the_repaired_model_goes_through_gguf(repaired: RepairResult, tmp_path: Path) -> None:
    folder = Path(repaired.out) / "model"
    write_llama(folder, tmp_path / "model.gguf")
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.arange(24).view(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(read(tokens).logits, model(tokens).logits)
