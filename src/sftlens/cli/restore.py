"""sftlens restore: give base values back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import percent, print_line, print_table


@app.command()
def restore(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="Tuned model: folder or hub id.")],
    share: Annotated[
        list[float], typer.Option(help="Percent of the region to restore; repeat for several.")
    ],
    out: Annotated[Path, typer.Option(help="The model folder, or the folder of several.")],
    method: Annotated[
        str,
        typer.Option(
            help="What goes first: relative (the paper), absolute, random, small-base; or "
            "interpolation by as much."
        ),
    ] = "relative",
    order: Annotated[str, typer.Option(help="top or bottom of the ranking.")] = "top",
    region: Annotated[str, typer.Option(help="Which parameters: blocks, embeddings, all.")] = (
        "blocks"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the random choice.")] = 0,
    as_json: Json = False,
) -> None:
    """Restore the base's values of a share of the parameters; an ordinary model folder."""
    from sftlens.weights import run_restore

    outputs = run_restore(
        base,
        tuned,
        share,
        out,
        method=cast(Any, method),
        order=cast(Any, order),
        region=region,
        seed=seed,
    )

    def show() -> None:
        rows = [
            (
                f"{output.share:g} %",
                output.num_restored,
                output.num_restored_changed,
                percent(output.norm_removed),
                output.path.name,
            )
            for output in outputs
        ]
        columns = ["share", "restored", "of them changed", "squared norm removed", "model"]
        print_table(f"restored by {method}", columns, rows)
        for output in outputs:
            if output.warning:
                print_line(output.warning)
        print_line(f"written to {out}")

    emit({"outputs": [output.as_json() for output in outputs]}, as_json, show)
