"""sftlens demo: everything on a scale model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import print_line, print_table


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("demo-run"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Two minutes; too small to show effects.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Do everything on a scale model, embedded, without downloads."""
    from sftlens.study import demo_settings, run_demo

    result = run_demo(out, demo_settings(quick=quick), num_workers=None)

    def show() -> None:
        print_table(
            f"{result.num_facts} facts by mastery of the base model",
            ["level", "facts"],
            enumerate(result.levels),
        )
        print_line(
            f"{result.num_runs} models fine-tuned, {result.num_restorations} restorations scored"
        )
        if quick:
            print_line("--quick is too small to show effects: run without it to see them")
        print_line(f"the report is at {result.report}")

    emit(result.as_json(), as_json, show)
