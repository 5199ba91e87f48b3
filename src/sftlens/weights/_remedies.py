"""Remedies for what cannot be read: commands that write a model folder that can."""

from __future__ import annotations

import shlex
from pathlib import Path

IN_TRAINING = (
    "merge it in the process that trained it (model.merge_and_unload().save_pretrained(FOLDER)), "
    "or save it there as plain LoRA (model.save_pretrained(FOLDER, "
    "path_initial_model_for_weight_conversion=START), START being the adapter as it was saved "
    "before the first step)"
)
"""For adapters that changed the base in a way that only the process that trained them knows."""

SAVE_AGAIN = "save the adapter again (model.save_pretrained)"


def merge_command(base: Path, adapter: Path) -> str:
    """A command by which peft merges an adapter into a base and writes a model folder, FOLDER."""
    return _python(
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T",
        f"PeftModel.from_pretrained(M.from_pretrained({str(base)!r}, dtype='auto'), "
        f"{str(adapter)!r}).merge_and_unload().save_pretrained('FOLDER')",
        f"T.from_pretrained({str(base)!r}).save_pretrained('FOLDER')",
    )


def untie_command(base: Path) -> str:
    """A command that writes a base, FOLDER, whose head is a copy of its embeddings of its own."""
    return _python(
        "import torch",
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T",
        f"m = M.from_pretrained({str(base)!r}, dtype='auto')",
        "m.config.get_text_config().tie_word_embeddings = m.config.tie_word_embeddings = False",
        "m.get_output_embeddings().weight = "
        "torch.nn.Parameter(m.get_input_embeddings().weight.detach().clone())",
        "m.save_pretrained('FOLDER')",
        f"T.from_pretrained({str(base)!r}).save_pretrained('FOLDER')",
    )


def resize_command(base: Path, num_rows: int) -> str:
    """A command that writes a base, FOLDER, with ``num_rows`` rows in embeddings and head."""
    return _python(
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T",
        f"m = M.from_pretrained({str(base)!r}, dtype='auto')",
        f"m.resize_token_embeddings({num_rows})",
        "m.save_pretrained('FOLDER')",
        f"T.from_pretrained({str(base)!r}).save_pretrained('FOLDER')",
    )


def pack_command(folder: Path) -> str:
    """A command that writes a model, FOLDER, with its parameters in the pieces of memory."""
    return _python(
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T",
        f"M.from_pretrained({str(folder)!r}, dtype='auto')"
        ".save_pretrained('FOLDER', save_original_format=False)",
        f"T.from_pretrained({str(folder)!r}).save_pretrained('FOLDER')",
    )


def _python(*statements: str) -> str:
    return f"python -c {shlex.quote('; '.join(statements))}"
