"""A trained model on disk: whatever can be refused is refused before the training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sftlens.checkpoints import CONFIG, GENERATION_CONFIG
from sftlens.errors import UserError, first_line


def require_savable(model: Any, tokenizer: Any, folder: Path, scratch: Path) -> None:
    """Save all but the weights, to see whether it can be done.

    Args:
        model: the model that is going to be trained.
        tokenizer: its tokenizer.
        folder: where they were loaded from.
        scratch: an existing folder that takes the files.

    Raises:
        UserError: when the configuration or the tokenizer loads and cannot be saved.
    """
    for part, file in ((model.config, CONFIG), (tokenizer, "its tokenizer")):
        try:
            part.save_pretrained(scratch)
        except Exception as error:  # as many ways to fail as a configuration has fields
            raise UserError(
                f"{folder}: {file} loads and cannot be saved ({first_line(error)}), so that what "
                "is trained would be lost; correct the file"
            ) from None


def save_model(model: Any, folder: Path, out: Path, **options: Any) -> None:
    """Save a model; a generation configuration that only loads is copied as it is.

    Some published ones set sampling values without ``do_sample``: ``transformers`` loads them, and
    refuses to save them once the trainer has set the padding token in them.

    Args:
        model: the trained model.
        folder: that of the base it was loaded from.
        out: an existing folder that takes the files.
        options: of ``save_pretrained``.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    try:
        own.save_pretrained(out)
    except ValueError:
        model.generation_config = GenerationConfig()
        try:
            model.save_pretrained(out, **options)
        finally:
            model.generation_config = own
        (out / GENERATION_CONFIG).unlink()
        if (folder / GENERATION_CONFIG).is_file():
            shutil.copyfile(folder / GENERATION_CONFIG, out / GENERATION_CONFIG)
    else:
        model.save_pretrained(out, **options)
