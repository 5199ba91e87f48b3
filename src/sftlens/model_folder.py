"""One inspection of a model folder: which weights ``transformers`` would load from it, if any.

``from_pretrained`` reads ``model.safetensors`` before the shards of an index, puts an adapter that
lies beside the weights on top of them, and passes over files of any other name. Where that is not
what a person or another tool would take the folder for, it is refused, with a command that makes
the folder plain. Inputs are never written to: each command writes a folder of its own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from sftlens.errors import UserError
from sftlens.json_files import read_json

CONFIG = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_PICKLE = "adapter_model.bin"
GENERATION_CONFIG = "generation_config.json"
TEMPLATE_FILES = ("chat_template*",)
TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "tekken.json",
    "*.tiktoken",
    "*.model",
)

_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_VARIANT = re.compile(r"model\.(?!safetensors)([\w-]+)\.safetensors(\.index\.json)?")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SAVING = "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T"
_SHOWN = 3


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights under a name that ``from_pretrained`` reads."""
    return (folder / SINGLE_FILE).is_file() or (folder / INDEX_FILE).is_file()


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter and not the weights of a model."""
    return (folder / ADAPTER_CONFIG).is_file() and not has_weights(folder)


def require_model(folder: Path, called: str) -> None:
    """Refuse a folder that is not one model, read alike by every tool.

    Args:
        folder: the folder.
        called: its name in the message.

    Raises:
        UserError: when the folder is a PEFT adapter or a model with an adapter beside its weights,
            holds no configuration, no weights that ``transformers`` would read, or weights twice.
    """
    if is_adapter(folder):
        raise UserError(
            f"{called}: is a PEFT adapter, which `sftlens divergence`, `diff`, `restore` "
            "and `repair` alone take, as TUNED; merge it into its base first: `sftlens restore "
            f"BASE {shlex.quote(called)} --share 0 --out FOLDER`"
        )
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{called}: is no model folder, since it holds no {CONFIG}{_inside(folder)}"
        )
    _require_default_name(folder, called)
    if not has_weights(folder):
        raise UserError(f"{called}: {_without_weights(folder)}")
    _require_no_adapter(folder, called)
    _require_one_set(folder, called)


def is_gguf(path: Path) -> bool:
    """Whether a file is in GGUF, by its name."""
    return path.suffix.lower() == ".gguf"


def gguf_remedy(file: Path) -> str:
    """Return how a GGUF file becomes a model folder."""
    return "convert it with transformers' gguf_file: " + python_command(
        f"{SAVING}, GgufConfig as G; d, f, out = sys.argv[1:]; "
        "M.from_pretrained(d, gguf_file=f, dtype='bfloat16', quantization_config="
        "G(dequantize=True)).save_pretrained(out); "
        "T.from_pretrained(d, gguf_file=f).save_pretrained(out)",
        file.parent,
        file.name,
        "FOLDER",
    )


def save_command(folder: Path, **options: str) -> str:
    """Return the command that loads a model as transformers does, and saves it in a new folder."""
    given = "".join(f", {name}='{value}'" for name, value in options.items())
    return python_command(
        f"{SAVING}; a, out = sys.argv[1:]; M.from_pretrained(a{given}).save_pretrained(out); "
        "T.from_pretrained(a).save_pretrained(out)",
        folder,
        "FOLDER",
    )


def python_command(code: str, *arguments: str | Path) -> str:
    """Return a line for the shell that runs code with arguments, whatever their spelling."""
    assert not {'"', "$", "`"} & set(code)
    given = " ".join(shlex.quote(str(argument)) for argument in arguments)
    return f'python -c "import sys; {code}" {given}'


def listed(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    names = list(names)
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _require_no_adapter(folder: Path, called: str) -> None:
    if not (folder / ADAPTER_CONFIG).is_file():
        return
    copy = f"cp -rL {shlex.quote(str(folder))} FOLDER && rm FOLDER/adapter_*"
    raise UserError(
        f"{called}: holds the weights of a model and {ADAPTER_CONFIG}: transformers puts the "
        "adapter on top of the weights, other tools do not; if it is merged into them already, or "
        f"is to be left out, give a copy without it: {copy}; if not, move the adapter to a folder "
        "of its own, and give both to `sftlens restore BASE ADAPTER --share 0 --out FOLDER`"
    )


def _require_one_set(folder: Path, called: str) -> None:
    """Refuse ``model.safetensors`` beside shards: transformers reads the one, vLLM the others."""
    if not (folder / SINGLE_FILE).is_file():
        return
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    if (folder / INDEX_FILE).is_file():
        weight_map = read_json(folder / INDEX_FILE).get("weight_map")
        files = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
        shards |= {name for name in files if "/" not in name and (folder / name).is_file()}
    shards -= {SINGLE_FILE}
    if not shards:
        return
    copy = f"cp -rL {shlex.quote(str(folder))} FOLDER"
    raise UserError(
        f"{called}: holds the weights twice, as {SINGLE_FILE}, which transformers reads, and as "
        f"shards ({listed(sorted(shards))}), which other tools read; give a copy without the stale "
        f"ones: {copy} && rm FOLDER/{SINGLE_FILE} (or FOLDER/model-*.safetensors "
        f"FOLDER/{INDEX_FILE})"
    )


def _require_default_name(folder: Path, called: str) -> None:
    """Refuse a configuration that names another weight file, which only transformers follows."""
    named = read_json(folder / CONFIG).get("transformers_weights")
    if named is not None and named not in (SINGLE_FILE, INDEX_FILE):
        raise UserError(
            f"{called}: its {CONFIG} has transformers read the weights from {named!r} "
            f"(transformers_weights); save it under the usual names: {save_command(folder)}"
        )


def _without_weights(folder: Path) -> str:
    """Return the fault of a folder with a configuration and no weights to read, and the remedy."""
    shards = sorted(path.name for path in folder.glob("*.safetensors") if _SHARD.match(path.name))
    if shards:
        return _without_index(folder, shards)
    distributed = sorted(folder.glob("*.distcp")) + sorted(folder.glob("*/*.distcp"))
    if distributed:
        place = distributed[0].parent
        return (
            f"holds shards of a distributed checkpoint ({distributed[0].name}) and no "
            f"{SINGLE_FILE}; merge them, and put the other files beside: accelerate merge-weights "
            f"{shlex.quote(str(place))} FOLDER && cp {shlex.quote(str(folder))}/*.json FOLDER"
        )
    variants = sorted(path.name for path in folder.glob("model.*") if _VARIANT.match(path.name))
    if variants:
        found = _VARIANT.match(variants[0])
        assert found is not None
        return (
            f"holds the weights as {variants[0]} alone, which transformers reads as a variant; "
            f"save it under the usual name: {save_command(folder, variant=found[1])}"
        )
    if gguf := sorted(path for path in folder.iterdir() if is_gguf(path)):
        return f"holds weights in GGUF alone ({gguf[0].name}); {gguf_remedy(gguf[0])}"
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        return (
            f"holds pickled weights only ({pickled[0]}), which can run code when read; "
            f"convert them if you trust them: {save_command(folder)}"
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    there = f"; it holds {listed(others)}, which transformers does not read" if others else ""
    return (
        f"holds no safetensors weights ({SINGLE_FILE} or {INDEX_FILE}){there}; give a folder "
        f"that AutoModelForCausalLM's save_pretrained wrote{_inside(folder)}"
    )


def _without_index(folder: Path, shards: list[str]) -> str:
    numbers = [tuple(map(int, found.groups())) for found in map(_SHARD.match, shards) if found]
    total = numbers[0][1]
    there = {number for number, of in numbers if of == total}
    missing = [n for n in range(1, total + 1) if n not in there]
    if missing:
        name = f"model-{missing[0]:05d}-of-{total:05d}.safetensors"
        return f"lacks {INDEX_FILE} and shards, first {name}; fetch or save the model again"
    write = python_command(
        "import json, pathlib; from safetensors import safe_open as s; d = pathlib.Path("
        f"sys.argv[1]); m = {{k: f.name for f in d.glob('model-*-of-{total:05d}.safetensors') for "
        f"k in s(f, 'pt').keys()}}; (d / '{INDEX_FILE}').write_text(json.dumps("
        "{'metadata': {}, 'weight_map': m}))",
        folder,
    )
    return (
        f"holds {len(there)} shards ({shards[0]}, …) and no {INDEX_FILE}, without which they are "
        f"not read; fetch it, or write it: {write}"
    )


def _inside(folder: Path) -> str:
    """Return which folders inside could be meant: those of a trainer's checkpoints, for example."""
    gguf = sorted(path for path in folder.iterdir() if is_gguf(path))
    if gguf:
        return f", but {gguf[0].name}; {gguf_remedy(gguf[0])}"
    within = sorted(
        path for path in folder.iterdir() if path.is_dir() and (path / CONFIG).is_file()
    )
    if not within:
        return ""
    newest = max(within, key=_step)
    return (
        f"; folders of models lie in it ({listed(path.name for path in within)}): give one of "
        f"them, such as {newest}"
    )


def _step(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", path.name)
    return int(digits[0]) if digits else -1, path.name
