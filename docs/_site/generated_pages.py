"""Pages that come from the code: commands, Python reference, examples, changelog."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from sftlens.cli import COMMANDS, complete_app

ROOT = Path(__file__).parents[2]
ROOMS = (
    *("facts", "world", "generation", "mastery", "tuning", "scoring"),
    *("divergence", "weights", "repair", "advice", "study", "intervals", "report"),
)
"""The packages of the reference, in the order in which the data flows."""

PARTS = {
    "report": tuple(
        f"sftlens.report.{part}" for part in ("paper", "compare", "inference", "figures", "cite")
    )
}
"""Packages within a room that offer something themselves."""

EXAMPLES = ("what_was_lost", "own_method", "scale_model")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """The files of the site with the generated ones."""
    changelog = ROOT / "CHANGELOG.md"
    pages = {"changelog.md": changelog.read_text(encoding="utf-8")}
    pages.update(command_pages())
    pages.update(python_pages())
    pages.update(example_pages())
    pages.update(lists_of_tables(Path(config.docs_dir)))
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def command_pages() -> Iterator[tuple[str, str]]:
    """One page a command, as typer tells it, in the order of the work."""
    group: Any = typer.main.get_command(complete_app())
    context = typer.Context(group, info_name="sftlens")
    rows = []
    for name in COMMANDS:
        command = group.get_command(context, name)
        rows.append(f"| [`sftlens {name}`]({name}.md) | {command.get_short_help_str(limit=200)} |")
        text = get_docs_for_click(
            obj=command,
            ctx=typer.Context(command, info_name=name, parent=context),
            name=name,
            call_prefix="sftlens",
        )
        yield f"commands/{name}.md", text
    lead = (ROOT / "docs" / "_site" / "commands.md").read_text(encoding="utf-8")
    yield "commands/index.md", lead + "\n".join(["", "| | |", "| --- | --- |", *rows, ""])
    yield "commands/.nav.yml", _nav(COMMANDS)


def python_pages() -> Iterator[tuple[str, str]]:
    """One page a room: what its ``__init__`` offers."""
    yield "python/index.md", (ROOT / "docs" / "_site" / "python.md").read_text(encoding="utf-8")
    for room in ROOMS:
        names = [f"sftlens.{room}", *PARTS.get(room, ())]
        texts = [f"# `{names[0]}`\n\n::: {names[0]}\n"]
        texts += [
            f"## `{name}`\n\n::: {name}\n    options:\n      heading_level: 3\n"
            for name in names[1:]
        ]
        yield f"python/{room}.md", "\n".join(texts)
    yield "python/.nav.yml", _nav(ROOMS)


def example_pages() -> Iterator[tuple[str, str]]:
    """One page an example: what it says of itself, and all of its code."""
    for name in EXAMPLES:
        code = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        title, _, rest = (ast.get_docstring(ast.parse(code)) or "").partition("\n")
        body = code.split('"""', 2)[2].strip()
        told = f"# {title.rstrip('.')}\n\n`examples/{name}.py`\n{rest}\n\n```python\n{body}\n```\n"
        yield f"how-to/examples/{name}.md", told
    names = "".join(f"  - {name}.md\n" for name in EXAMPLES)
    yield "how-to/examples/.nav.yml", f"nav:\n{names}"


def lists_of_tables(docs: Path) -> Iterator[tuple[str, str]]:
    """One page for each folder of tables that belongs to a results page."""
    for folder in sorted(path for path in (docs / "results").iterdir() if path.is_dir()):
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
        rows = [f"- [{name}]({name})" for name in names]
        where = f"results/{folder.name}"
        text = f"# Tables of {folder.name}\n\n[What they say](../{folder.name}.md)\n\n"
        yield f"{where}/index.md", text + "\n".join(rows) + "\n"


def _nav(names: tuple[str, ...]) -> str:
    return "\n".join(["nav:", "  - index.md", *(f"  - {name}: {name}.md" for name in names), ""])
