"""The fenced blocks of the README and the documentation, and what each of them asks for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, NamedTuple

import typer
from markdown_it import MarkdownIt

from sftlens.cli import complete_app

ROOT = Path(__file__).parents[2]
SHELL = ("sh", "bash", "console", "shell")
PYTHON = ("python", "py")
PROGRAMS = ("sftlens", "python", "pip", "make", "accelerate", "$")

_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]{10,}) -->")
_TITLE = re.compile(r'title="(?P<name>[\w.-]+)"')
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_INSTALL = re.compile(r"pip install \"?sftlens(?:\[(?P<extra>[\w,-]+)\])?\"?")


class Block(NamedTuple):
    """One fenced or indented block.

    Attributes:
        page: relative to the repository.
        line: of its first line.
        language: as written after the fence.
        is_indented: whether it is no fenced block.
        title: the name of the file that it shows, or None.
        text: what stands in it.
        reason: why it is not run, or None.
    """

    page: str
    line: int
    language: str
    is_indented: bool
    title: str | None
    text: str
    reason: str | None

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page; a comment that says why counts for the block right after it."""
    reason = None
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            language, _, rest = token.info.strip().partition(" ")
            title = _TITLE.search(rest)
            yield Block(
                str(page.relative_to(ROOT)),
                (token.map or [0])[0] + 1,
                language,
                token.type == "code_block",
                title["name"] if title else None,
                token.content,
                reason,
            )
        found = _NOT_RUN.fullmatch(token.content.strip()) if token.type == "html_block" else None
        reason = found["reason"] if found else None


def inline_commands(page: Path) -> Iterator[list[str]]:
    """The words of inline code that begins with a command of ours."""
    for words in _inline_code(page):
        if words[0] == "sftlens" and len(words) > 1:
            yield words[1:]


def inline_installs(page: Path) -> Iterator[list[str]]:
    """The words of inline code that installs this package."""
    for words in _inline_code(page):
        if words[:2] == ["pip", "install"] and any("sftlens" in word for word in words):
            yield words


def _inline_code(page: Path) -> Iterator[list[str]]:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    for token in tokens:
        for child in token.children or ():
            if child.type == "code_inline" and child.content.strip():
                yield child.content.split()


def lines(text: str) -> list[list[str]]:
    """The commands of a block, as words, without comments and leading assignments."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        if words:
            commands.append(words)
    return commands


def is_ours(words: list[str]) -> bool:
    return words[0] == "sftlens"


def own_words(words: list[str]) -> list[str] | None:
    """What follows ``sftlens``, also where another program starts it; None where it is not ours."""
    if is_ours(words):
        return words[1:]
    for place in range(len(words) - 1):
        if words[place : place + 2] == ["-m", "sftlens"]:
            return words[place + 2 :]
    return None


def parse(words: list[str]) -> None:
    """Parse a command as the command line does, and do nothing.

    Raises:
        Exception: typer's own, when there is no such command, option or value.
    """
    command: Any = typer.main.get_command(complete_app())
    context = command.make_context("sftlens", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def options_of(words: list[str]) -> set[str] | None:
    """The options of the command that these words begin with; None where there is no such one."""
    command: Any = typer.main.get_command(complete_app())
    for word in words:
        if not hasattr(command, "commands") or word not in command.commands:
            break
        command = command.commands[word]
    if not hasattr(command, "params") or hasattr(command, "commands"):
        return None
    return {option for parameter in command.params for option in parameter.opts} | {"--help"}


def installs(words: list[str]) -> bool:
    """Whether the line installs this package, with extras that it has.

    ``test_installing.py`` runs those that stand in blocks, from a wheel of this tree.
    """
    found = _INSTALL.fullmatch(" ".join(words))
    if found is None:
        return False
    asked = set((found["extra"] or "").split(",")) - {""}
    return asked <= set(metadata("sftlens").get_all("Provides-Extra") or ())
