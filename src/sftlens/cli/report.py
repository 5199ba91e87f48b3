"""sftlens report: write a run's page again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import print_line


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a study.")],
    as_json: Json = False,
) -> None:
    """Write the report of a run folder."""
    from sftlens.report import write_report

    path = write_report(run)
    emit({"out": str(path)}, as_json, lambda: print_line(f"the report is at {path}"))
