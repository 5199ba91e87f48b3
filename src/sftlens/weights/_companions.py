"""The files that stand beside a model's weights."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from sftlens.checkpoints import (
    ADAPTER_CONFIG,
    GENERATION_CONFIG,
    TEMPLATE_FILES,
    TOKENIZER_FILES,
    Checkpoint,
)
from sftlens.errors import UserError

_WEIGHTS_AND_PICKLES = {
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".h5",
    ".msgpack",
    ".onnx",
    ".gguf",
    ".npz",
}
_RUN_FILES = {"README.md", "manifest.json", "trainer_state.json"}
_MORE_TEMPLATES = "additional_chat_templates"
_TOKENIZER_MARKS = {"tokenizer.json", "tokenizer_config.json"}


def model_companions(checkpoint: Checkpoint) -> list[Path]:
    """The files that make a model folder complete beside its weights, in the order of their names.

    Every regular file at the top level, such as configuration, tokenizer and chat template, except
    weights of any format, pickles, adapters, hidden files, and what tells of an earlier run; and
    the chat templates in ``additional_chat_templates``. A link is followed within the folder and
    within the hub's cache.

    Raises:
        UserError: when a link leads elsewhere.
    """
    return [
        path
        for path in _small_files(checkpoint.folder)
        if path.name == checkpoint.index or not path.name.endswith(".index.json")
    ]


def adapter_companions(folder: Path, base: Checkpoint) -> list[Path]:
    """The files that make a folder complete in which an adapter was merged into its base.

    Those of the base, except that an adapter's folder with a tokenizer gives the tokenizer and all
    chat templates, one with only chat templates gives these, and its generation configuration
    takes the place of the base's.

    Raises:
        UserError: as :func:`model_companions`.
    """
    own = _small_files(folder)
    taken: tuple[str, ...] = ()
    if any(path.name in _TOKENIZER_MARKS for path in own):
        taken += (*TOKENIZER_FILES, *TEMPLATE_FILES)
    elif any(_is_of(path, TEMPLATE_FILES) for path in own):
        taken += TEMPLATE_FILES
    if any(path.name == GENERATION_CONFIG for path in own):
        taken += (GENERATION_CONFIG,)
    from_base = [path for path in model_companions(base) if not _is_of(path, taken)]
    from_adapter = [path for path in own if _is_of(path, taken)]
    return sorted(from_base + from_adapter, key=lambda path: path.name)


def place(path: Path) -> Path:
    """Where a companion lies within its folder."""
    return Path(_MORE_TEMPLATES, path.name) if _is_more_template(path) else Path(path.name)


def _small_files(folder: Path) -> list[Path]:
    home = folder.resolve()
    within = home, home / _MORE_TEMPLATES, home.parent.parent / "blobs"
    found = []
    for path in [*sorted(folder.iterdir()), *sorted((folder / _MORE_TEMPLATES).glob("*.jinja"))]:
        name = path.name
        if name.startswith(".") or name in {*_RUN_FILES, ADAPTER_CONFIG} or not path.is_file():
            continue
        if path.suffix.lower() in {*_WEIGHTS_AND_PICKLES, ".parquet"}:
            continue
        if path.resolve().parent not in within:
            raise UserError(
                f"{path}: is a link that leads out of the model folder; put a copy in its place"
            )
        found.append(path)
    return found


def _is_of(path: Path, patterns: tuple[str, ...]) -> bool:
    # Of all templates, only those beside the weights are named in one way.
    name = "chat_template" if _is_more_template(path) else path.name
    return any(fnmatch(name, pattern) for pattern in patterns)


def _is_more_template(path: Path) -> bool:
    return path.parent.name == _MORE_TEMPLATES
