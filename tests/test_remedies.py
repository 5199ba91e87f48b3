"""Every remedy that a text of the package names exists: commands, flags, packages, functions.

That it helps is the matter of the tests that follow it, such as ``weights/test_adapter_remedies``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import peft
import pytest
import torch
import transformers
import typer

import sftlens
from sftlens.cli import COMMANDS, complete_app
from sftlens.errors import UserError
from sftlens.manifest import read_manifest

SOURCE = Path(sftlens.__file__).parent

SERVED = {
    "advice": "advise",
    "repair": "repair",
    "study/_estimate.py": "study plan",
    "study/_rates.py": "study plan",
    "study": "study run",
    "weights/_measured.py": "restore",
    "weights/_card.py": "restore",
    "facts": "facts, probe, tune, score, divergence, repair, advise",
}
"""Commands that a text of a room is about; texts of other rooms, of all commands."""

PLACEHOLDER = "{}"
WORDS = "|".join(sorted({*COMMANDS} - {"study"}))
COMMAND = re.compile(rf"\bsftlens ((?:study (?:run|plan)|{WORDS})\b)([^`]*)")
QUOTED = re.compile(r"`sftlens ([a-z][a-z ]*[a-z])")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
PACKAGE = re.compile(r"pip install (?:-U )?\"?([\w.-]+(?:\[[\w,]+\])?)|(sftlens\[[\w,]+\])")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
METHOD = re.compile(r"\.([a-z_]\w*)\(")
ARGUMENT = re.compile(r"[(,] ?([a-z]\w+)=(?!=)")
CLASS = re.compile(r"\b(?:[A-Z][a-z]+|GPT|LM)(?:[A-Z]\w*)+\b")
BARE = re.compile(r"\b\w+_(?:pretrained|only|and_unload)\b|\bpath_initial\w+|\bsave_original\w+")
PROGRAM = re.compile(r"(?:[`(]|: )(accelerate|lm-eval|ray) ([a-z-]+)(?=[ `)]|$)")

ANY = ("cli/_app.py", "cli/_regions.py", "cli/study.py")  # about one of several commands
FOREIGN_FLAGS = {"--config_file", "--config", "--module", "--include_path", "--include"}
FOREIGN = {"pandas"}  # what the tables are handed to, and never needed
VARIABLES = {"CUDA_VISIBLE_DEVICES": "torch", "OPENAI_API_KEY": "sftlens"}
PROGRAMS = {
    "accelerate": ("accelerate", "commands"),
    "lm-eval": ("lm_eval", "_cli"),
    "ray": ("ray", "scripts"),
}


class Text(NamedTuple):
    """A text of the package, as it may be printed."""

    path: str  # within the package
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def spelt(node: ast.AST, constants: dict[str, str]) -> str:
    """A string or f-string; of what it puts in, constants of the module in words."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(spelt(value, constants) for value in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name):
        return constants.get(node.value.id, PLACEHOLDER)
    return PLACEHOLDER


def texts_of(path: str, code: str) -> Iterator[Text]:
    """The texts of a module but its docstrings, which for the command line are printed too."""
    tree = ast.parse(code)
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if part is not node}
        if isinstance(node, ast.Expr) and not path.startswith("cli/"):
            inside.add(id(node.value))
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        string = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in inside and (string or isinstance(node, ast.JoinedStr)):
            yield Text(path, node.lineno, spelt(node, constants))


@cache
def texts() -> tuple[Text, ...]:
    found = []
    for path in sorted(SOURCE.rglob("*")):
        name = path.relative_to(SOURCE).as_posix()
        if path.suffix == ".py":
            found += texts_of(name, path.read_text())
        elif path.suffix == ".j2":
            page = re.sub(r"(?s)<(style|script)\b.*?</\1>", "", path.read_text())
            found += [Text(name, 1 + n, line) for n, line in enumerate(page.splitlines())]
    return tuple(found)


@cache
def flags() -> dict[str, set[str]]:
    """The options of each command."""
    found: dict[str, set[str]] = {}

    def add(command: Any, name: str) -> None:
        found[name] = {one for p in command.params for one in [*p.opts, *p.secondary_opts]}
        found[name].add("--help")
        for word, below in getattr(command, "commands", {}).items():
            add(below, f"{name} {word}".strip())

    add(typer.main.get_command(complete_app()), "")
    return found


def served(path: str) -> list[str]:
    """The commands that a text of a file is about."""
    room, _, module = path.removesuffix(".py").partition("/")
    if room == "cli" and module in COMMANDS:
        return [name for name in flags() if name.split()[:1] == [module]]
    words = SERVED.get(path) or SERVED.get(room)
    return words.split(", ") if words else [name for name in flags() if name]


def wrong_commands(text: Text) -> Iterator[str]:
    for words in QUOTED.findall(text.text):
        if not COMMAND.match(f"sftlens {words}"):
            yield f"`sftlens {words}` is no command"
    for command, words in COMMAND.findall(text.text):
        for flag in FLAG.findall(words):
            if flag not in flags()[command]:
                yield f"`sftlens {command}` has no {flag}"
    rest = COMMAND.sub("", text.text)
    if rest.strip() in FOREIGN_FLAGS or (text.path.startswith("cli/") and FLAG.fullmatch(rest)):
        return  # the definition of an option
    for flag in FLAG.findall(rest):
        names = served(text.path)
        have = [flag in flags()[name] for name in names]
        if flag not in FOREIGN_FLAGS and not (any(have) if text.path in ANY else all(have)):
            yield f"{flag} is no option of {', '.join(names)}"


@cache
def offered() -> tuple[set[str], set[str]]:
    """Packages that a plain install brings, and extras."""
    code = (SOURCE.parents[1] / "pyproject.toml").read_text()
    needed, extras = re.findall(
        r"(?ms)^dependencies = \[(.*?)^\]|^\[project.optional.*?\]$(.*?)^\[", code
    )
    packages = {re.split(r"[<>=,]", one)[0] for one in re.findall(r'"(.+?)"', needed[0])}
    return packages | {"sftlens"} | FOREIGN, set(re.findall(r"(?m)^(\w+) = ", extras[1]))


def wrong_packages(text: Text) -> Iterator[str]:
    for found in PACKAGE.findall(text.text):
        name, _, extra = (found[0] or found[1]).rstrip("]").partition("[")
        packages, extras = offered()
        if name not in packages or not set(extra.split(",")) <= extras | {""}:
            yield f"{found[0] or found[1]} is no package or extra that would help"


@cache
def places() -> tuple[Any, ...]:
    """Where the functions are that texts name: modules first, then the classes of models."""
    import json
    import pathlib

    import accelerate
    import safetensors
    import safetensors.torch
    import trl

    return (
        *(torch, transformers, peft, trl, accelerate, safetensors, safetensors.torch),
        *(json, pathlib, pathlib.Path, torch.nn, torch.Tensor, dict, __builtins__),
        *(transformers.AutoModelForCausalLM, transformers.PreTrainedModel, peft.PeftModel),
        *(transformers.PreTrainedTokenizerBase, transformers.PreTrainedConfig),
        *(peft.LoraModel, transformers.GgufConfig, sftlens),
    )


def has(name: str) -> bool:
    return any(
        name in place if isinstance(place, dict) else hasattr(place, name) for place in places()
    )


@cache
def arguments() -> set[str]:
    """The words in the sources of the functions whose arguments texts name."""
    code = inspect.getdoc(torch.load) or ""
    for one in (
        transformers.PreTrainedModel.from_pretrained,
        transformers.PreTrainedModel.save_pretrained,
        transformers.PreTrainedTokenizerBase,
        transformers.GgufConfig,
        peft.PeftModel.save_pretrained,
        peft.LoraConfig,
    ):
        code += inspect.getsource(one)
    return set(re.findall(r"\w+", code))


def wrong_names(text: Text) -> Iterator[str]:
    named = set(BARE.findall(text.text))
    if named or "python -c" in text.text or "import " in text.text:
        named |= set(CLASS.findall(text.text))
        named |= set(METHOD.findall(text.text))
        named |= set(re.findall(r"import (\w+)", text.text))
    for name in sorted(named):
        if not (has(name) or importlib.util.find_spec(name) or name in arguments()):
            yield f"{name} is no name of Python, torch, transformers, peft or sftlens"
    if "_pretrained(" in text.text:
        for name in ARGUMENT.findall(text.text):
            if name not in arguments():
                yield f"{name} is no argument of from_pretrained or save_pretrained"


def source_of(package: str, *folders: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    for path in Path(spec.origin).parent.joinpath(*folders).rglob("*.py"):
        yield path.read_text(encoding="utf-8")


@cache
def reads(package: str, name: str) -> bool:
    pattern = re.compile(rf"environ[^\n]{{0,20}}[\"']{name}[\"']|getenv\([\"']{name}[\"']")
    return any(pattern.search(code) for code in source_of(package))


def wrong_variables(text: Text) -> Iterator[str]:
    for name in VARIABLE.findall(text.text):
        if f"by {name}" not in text.text and f"set {name}" not in text.text:
            continue
        if name == ssl.get_default_verify_paths().openssl_cafile_env:
            continue  # of Python's own TLS
        if name not in VARIABLES or not reads(VARIABLES[name], name):
            yield f"{name} is read by nobody"


def wrong_programs(text: Text) -> Iterator[str]:
    for program, word in PROGRAM.findall(text.text):
        package, *folders = PROGRAMS[program]
        pattern = re.compile(rf"[\"']{word}[\"']|def {word}\b")
        if not any(pattern.search(code) for code in source_of(package, *folders)):
            yield f"{program} {word} is no command"


CHECKS = (wrong_commands, wrong_packages, wrong_names, wrong_variables, wrong_programs)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_remedies_exist(check: Any) -> None:
    assert [f"{text}: {fault}" for text in texts() for fault in check(text)] == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (wrong_commands, "run `sftlens heal` again"),
        (wrong_commands, "run `sftlens restore BASE TUNED --column a=b`"),
        (wrong_commands, "run sftlens diff BASE TUNED --dtype float32"),
        (wrong_commands, "{}: is too large; give a smaller --dtype"),
        (wrong_commands, "`sftlens study rerun` does it"),
        (wrong_packages, "run `pip install sftlens-extras`"),
        (wrong_packages, 'needs Ray; pip install "sftlens[ray]"'),
        (
            wrong_names,
            "run PeftModel.from_pretrainde('x').merge_and_unlaod(); T.from_pretrained(1)",
        ),
        (wrong_names, "model.save_pretrained(FOLDER, save_orignal_format=False)"),
        (wrong_names, "PeftModel.load_pretrained(FOLDER)"),
        (wrong_names, "from transformers import GufConfig"),
        (wrong_variables, "give a key by OPENAI_APIKEY_2"),
        (wrong_variables, "set SSL_CA_FILE to the certificate"),
        (wrong_programs, "run `accelerate merge-shards`"),
        (wrong_programs, "merge them: accelerate merge-weight FROM TO"),
    ],
)
def test_a_remedy_that_does_not_exist(check: Any, text: str) -> None:
    assert list(check(Text("facts/_values.py", 1, text)))


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (wrong_commands, "run `sftlens facts FILE --column a=b` before"),
        (wrong_commands, "take `sftlens study plan FILE --rates RATES`"),
        (wrong_packages, '`pip install "sftlens[cluster]"` or pip install -U numba'),
        (wrong_names, "model.save_pretrained(FOLDER, selected_adapters=['a'])"),
        (wrong_variables, "set OPENAI_API_KEY, or name it by SSL_CERT_FILE"),
        (wrong_programs, "merge: accelerate merge-weights FROM TO, `lm-eval ls tasks` (ray start)"),
    ],
)
def test_a_remedy_that_exists(check: Any, text: str) -> None:
    assert list(check(Text("facts/_values.py", 1, text))) == []


def test_folders_are_named_by_the_command_that_writes_them() -> None:
    """A manifest's stage stands in "give the folder that `sftlens STAGE` wrote"."""
    stages = {
        found
        for path in SOURCE.rglob("*.py")
        for found in re.findall(r"read_manifest\(\w+, \"(\w+)\"\)", path.read_text())
    }
    assert stages >= {"probe", "score", "study"}
    for stage in stages:
        with pytest.raises(UserError) as caught:
            read_manifest(Path("absent"), stage)
        assert list(wrong_commands(Text("manifest.py", 1, str(caught.value)))) == []
