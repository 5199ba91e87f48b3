"""sftlens probe: mastery and levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.facts import Matching
from sftlens.mastery import ProbeSettings, run_probe

S = ProbeSettings


@app.command()
def probe(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    facts: Annotated[str, typer.Argument(metavar="FACTS", help="Facts file or world folder.")],
    out: Annotated[Path, typer.Option(help="The mastery folder.")],
    num_templates: Annotated[int, setting(S, "num_templates")] = default(S, "num_templates"),
    num_samples: Annotated[int, setting(S, "num_samples")] = default(S, "num_samples"),
    temperature: Annotated[float, setting(S, "temperature")] = default(S, "temperature"),
    max_new_tokens: Annotated[int, setting(S, "max_new_tokens")] = default(S, "max_new_tokens"),
    matching: Annotated[Matching, setting(S, "matching")] = default(S, "matching"),
    seed: Annotated[int, setting(S, "seed")] = default(S, "seed"),
    as_json: Json = False,
) -> None:
    """Grade how well a base model masters each fact."""
    settings = checked(
        S,
        num_templates=num_templates,
        num_samples=num_samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        matching=matching,
        seed=seed,
    )
    result = run_probe(base, facts, out, settings)

    def show() -> None:
        rows = [
            (level, number, percent(number / result.num_facts))
            for level, number in enumerate(result.levels)
        ]
        title = f"{result.num_facts} facts, {result.num_completions:,} completions"
        print_table(title, ["level", "facts", "share"], rows)
        print_line(f"written to {out}")

    emit(result._asdict(), as_json, show)
