"""Remedies for what cannot be read: commands that write a model folder that can."""

from __future__ import annotations

from pathlib import Path

from sftlens.model_folder import SAVING, python_command

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
    return python_command(
        f"{SAVING}; from peft import PeftModel as P; b, a, out = sys.argv[1:]; "
        "P.from_pretrained(M.from_pretrained(b), a).merge_and_unload().save_pretrained(out); "
        "T.from_pretrained(b).save_pretrained(out)",
        base,
        adapter,
        "FOLDER",
    )


def untie_command(base: Path) -> str:
    """A command that writes a base, FOLDER, whose head is a copy of its embeddings of its own."""
    return _changed(
        base,
        "import torch; "
        "m.config.get_text_config().tie_word_embeddings = m.config.tie_word_embeddings = False; "
        "m.get_output_embeddings().weight = "
        "torch.nn.Parameter(m.get_input_embeddings().weight.detach().clone())",
    )


def resize_command(base: Path, num_rows: int) -> str:
    """A command that writes a base, FOLDER, with ``num_rows`` rows in embeddings and head."""
    return _changed(base, f"m.resize_token_embeddings({num_rows})")


def pack_command(folder: Path) -> str:
    """A command that writes a model, FOLDER, with its parameters in the pieces of memory."""
    return python_command(
        f"{SAVING}; a, out = sys.argv[1:]; "
        "M.from_pretrained(a).save_pretrained(out, save_original_format=False); "
        "T.from_pretrained(a).save_pretrained(out)",
        folder,
        "FOLDER",
    )


def _changed(base: Path, change: str) -> str:
    return python_command(
        f"{SAVING}; b, out = sys.argv[1:]; m = M.from_pretrained(b); {change}; "
        "m.save_pretrained(out); T.from_pretrained(b).save_pretrained(out)",
        base,
        "FOLDER",
    )
