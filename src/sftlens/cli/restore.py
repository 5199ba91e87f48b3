"""sftlens restore: take part of an update back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._regions import LayersOption, RegionOption
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.cli.diff import print_places
from sftlens.errors import UserError
from sftlens.storage_types import StorageType


@app.command()
def restore(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    tuned: Annotated[
        str, typer.Argument(metavar="TUNED", help="Tuned model or LoRA adapter: folder or hub id.")
    ],
    share: Annotated[
        list[float] | None,
        typer.Option(help="How much to take back, in percent; repeat for several."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The model folder, or the folder of several.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="What goes back first: relative (the paper), absolute, random, small-base; "
            "interpolation by as much; or wise-ft, lines, dare, ties, breadcrumbs, fapm, "
            "half-reset, dg-hard."
        ),
    ] = "relative",
    order: Annotated[str, typer.Option(help="top or bottom of the ranking.")] = "top",
    region: RegionOption = "blocks",
    layers: LayersOption = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random choice.")] = 0,
    dtype: Annotated[
        StorageType | None,
        typer.Option(help="Storage type to write; by default the tuned model's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Select and report, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take part of an update back, by default the paper's way; an ordinary model folder."""
    from sftlens.weights import Request, region_name, run_preview, run_restore

    request = Request(
        method=cast(Any, method),
        shares=tuple(share or ()),
        order=cast(Any, order),
        region=region_name(region, layers),
        seed=seed,
        dtype=dtype,
    )
    if dry_run:
        result = run_preview(base, tuned, request, out or Path()).as_json()
    elif out is None:
        raise UserError("--out: is missing; name the folder to write, or give --dry-run")
    else:
        result = run_restore(base, tuned, request, out).as_json()

    def show() -> None:
        rows = [
            (
                "-" if output["share"] is None else f"{output['share']:g} %",
                "-" if output["alpha"] is None else f"{output['alpha']:.6g}",
                output["num_restored"],
                output["num_restored_changed"],
                output["num_restored_zero_base"],
                output["num_restored_small_base"],
                percent(output["norm_removed"]),
                output["dtype"],
                *([] if dry_run else [Path(output["path"]).name]),
            )
            for output in result["outputs"]
        ]
        columns = ["share", "alpha", "restored", "of them changed", "of these base 0", "below 1e-4"]
        columns += ["squared norm removed", "stored in"]
        print_table(f"taken back by {method}", columns + ([] if dry_run else ["model"]), rows)
        for output in result["outputs"]:
            if output["warning"]:
                print_line(output["warning"])
        if dry_run:
            _show_needs(result)
        else:
            for note in result["notes"]:
                print_line(note)
            print_line(f"written to {out}")

    emit(result, as_json, show)


def _show_needs(result: dict[str, Any]) -> None:
    for place in ("module", "layer"):
        if result[f"{place}s"] is not None:
            print_places(result[f"{place}s"], place)
    for note in result["notes"]:
        print_line(note)
    needed, free = result["num_bytes"] / 1e9, result["free_bytes"] / 1e9
    print_line(f"nothing written; it would take {needed:.2f} GB, and {free:.2f} GB are free")
