"""A model folder's tokenizer, as its model needs it."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftlens.checkpoints import CONFIG, TOKENIZER_FILES, read_json
from sftlens.errors import UserError, shortened
from sftlens.model_folder import python_command

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_NEEDS_BOS = ("gemma", "recurrent_gemma", "vaultgemma", "t5gemma")
"""Beginnings of model types that were never trained on a text without BOS, and fail on one."""


def load_tokenizer(folder: Path, called: str | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer; where its model cannot do without BOS, one that adds it, once.

    A tokenizer that is made from a GGUF or SentencePiece file may add no BOS though the model needs
    one. The one that is returned does, so that probing, training and the saved copy agree.

    Args:
        folder: the model folder.
        called: its name in messages, where it stands for another.

    Raises:
        UserError: when the folder has no tokenizer, or one that cannot be loaded or has no end of
            text.
    """
    from transformers import AutoTokenizer

    called = called or str(folder)
    copied = python_command(
        "from transformers import AutoTokenizer as T; T.from_pretrained(sys.argv[1])"
        ".save_pretrained(sys.argv[2])",
        "BASE",
        called,
    )
    remedy = f"copy that of its base there: {copied}"
    if not any(next(folder.glob(pattern), None) for pattern in TOKENIZER_FILES):
        raise UserError(f"{called}: holds no tokenizer (tokenizer.json or another); {remedy}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # a tokenizer's files can fail in as many ways as they have fields
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{called}: its tokenizer cannot be loaded ({reason}); {remedy}") from None
    if tokenizer.eos_token_id is None:
        raise UserError(f"{called}: the tokenizer has no end-of-text token; set eos_token")
    _add_needed_bos(tokenizer, folder, called)
    return tokenizer


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a text begins with BOS."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def num_rows(model: PreTrainedModel) -> int:
    """The number of tokens that a model has embeddings for."""
    embeddings: Any = model.get_input_embeddings()
    rows = getattr(embeddings, "num_embeddings", None)
    return int(embeddings.weight.shape[0] if rows is None else rows)


def padding_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The token to pad with; padding is masked, so any that the model has embeddings for will do.

    A padding token that was added to the tokenizer, and not to the model, is none.
    """
    rows = num_rows(model)
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in candidates if token is not None and token < rows)


def _add_needed_bos(tokenizer: Any, folder: Path, called: str) -> None:
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    kind = str(config.get("model_type", ""))
    if not kind.startswith(_NEEDS_BOS) or tokenizer.bos_token is None or adds_bos(tokenizer):
        return
    tokenizer.add_bos_token = True
    done = adds_bos(tokenizer)
    did = "it is added here" if done else "the answers are not those of the model as trained"
    fix = python_command(
        "from transformers import AutoTokenizer as T; t = T.from_pretrained(sys.argv[1]); "
        "t.add_bos_token = True; t.save_pretrained(sys.argv[2])",
        called,
        "FOLDER",
    )
    _report(
        f"{called}: its tokenizer adds no BOS, which {kind} models need: {did}; for the tools that "
        f"use it elsewhere (tokenizer_config.json alone does not decide it): {fix}"
    )


@cache
def _report(line: str) -> None:
    """Write a line to standard error, once however often the model is loaded."""
    sys.stderr.write(shortened(line) + "\n")
