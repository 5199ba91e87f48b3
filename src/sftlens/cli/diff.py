"""sftlens diff: where fine-tuning changed the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._regions import LayersOption, RegionOption
from sftlens.cli._tables import percent, print_line, print_table


@app.command()
def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    tuned: Annotated[
        str, typer.Argument(metavar="TUNED", help="Tuned model or LoRA adapter: folder or hub id.")
    ],
    region: RegionOption = "blocks",
    layers: LayersOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables.")] = None,
    as_json: Json = False,
) -> None:
    """Find where the parameters changed, and how concentrated the change is."""
    from sftlens.weights import region_name, run_diff

    result = run_diff(base, tuned, region=region_name(region, layers), out=out)

    def show() -> None:
        print_line(
            f"{result.num_changed:,} of {result.num_parameters:,} parameters of region "
            f"{result.region} changed"
        )
        measures = result.concentration
        shares: list[Any] = list(measures["relative"])
        without = result.concentration_without_small_base
        rows = [
            (
                f"top {share} %",
                *(percent(held[share]) for held in (*measures.values(), *without.values())),
                *(_part(result.top[share], of) for of in ("num_zero", "num_small")),
            )
            for share in shares
        ]
        headings = [*measures, *(f"{name} *" for name in without), "base 0", "below 1e-4"]
        print_table("share of the summed change that is held by", ["", *headings], rows)
        print_line("null: relative change with the sizes of changes shuffled against the weights")
        print_line(
            f"*: without the {result.num_small_base:,} parameters whose base is below 1e-4, "
            f"{result.num_zero_base:,} of them 0; base 0, below 1e-4: part of the top share's "
            "changed entries that has such a base"
        )
        print_places(result.modules, "module")
        print_places(result.layers, "layer")
        for note in result.notes:
            print_line(note)
        if out is not None:
            print_line(f"written to {out}")

    emit(result.as_json(), as_json, show)


def print_places(rows: list[dict[str, Any]], place: str) -> None:
    """Print what lies in each layer or module, as :meth:`sftlens.weights.Diff.by` gives it."""
    sums = [name for name in ("relative", "absolute") if name in rows[0]]
    shares = _few([name for name in rows[0] if name.startswith("restored_")])
    headings = [f"{name.removeprefix('restored_')} %" for name in shares]
    num_parameters = sum(row["num_parameters"] for row in rows)
    print_table(
        f"by {place}: how much of it changed, and its part of the region, of the change, and of "
        "the changed entries that a share restores",
        [place, "changed", "size", *sums, *headings],
        [
            (
                "-" if row[place] is None else str(row[place]),
                percent(row["num_changed"] / row["num_parameters"]),
                percent(row["num_parameters"] / num_parameters),
                *(percent(row[name]) for name in [*sums, *shares]),
            )
            for row in rows
            if row["num_parameters"]
        ],
    )


def _part(top: dict[str, int], of: str) -> str:
    return percent(top[of] / top["num_changed"] if top["num_changed"] else None)


def _few(names: list[str]) -> list[str]:
    """What fits the width of a terminal; ``--json`` tells all."""
    return names if len(names) <= 3 else [names[0], names[len(names) // 2], names[-1]]
