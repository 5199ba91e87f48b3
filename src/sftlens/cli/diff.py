"""sftlens diff: where fine-tuning changed the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import percent, print_line, print_table


@app.command()
def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="Tuned model: folder or hub id.")],
    region: Annotated[str, typer.Option(help="Which parameters: blocks, embeddings, all.")] = (
        "blocks"
    ),
    out: Annotated[Path | None, typer.Option(help="Folder for the table of tensors.")] = None,
    as_json: Json = False,
) -> None:
    """Find where the parameters changed, and how concentrated the change is."""
    from sftlens.weights import run_diff

    result = run_diff(base, tuned, region=region, out=out)

    def show() -> None:
        print_line(
            f"{result['num_changed']:,} of {result['num_parameters']:,} parameters of region "
            f"{region} changed"
        )
        measures = result["concentration"]
        shares: list[Any] = list(measures["relative"])
        rows = [
            (f"top {share} %", *(percent(by_share[share]) for by_share in measures.values()))
            for share in shares
        ]
        print_table("share of the summed change that is held by", ["", *measures], rows)
        print_line("null: relative change with the sizes of changes shuffled against the weights")
        for note in result["notes"]:
            print_line(note)
        if out is not None:
            print_line(f"written to {out}")

    emit(result, as_json, show)
