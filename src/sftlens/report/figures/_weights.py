"""Where the weights moved, and where the restored entries lie."""

from __future__ import annotations

from typing import Any

import polars as pl

from sftlens.report._shift import BASES
from sftlens.report.figures._look import COLUMN, method_inks, ordered_inks, shown
from sftlens.report.figures._parts import (
    curve,
    heat,
    legend_below,
    panels,
    places,
    shares_axis,
    width,
)

_MAX_TOLD = 41  # layers and their sum, whose numbers a page has room for


def concentration(table: pl.DataFrame) -> Any:
    value = pl.col("value")
    table = table.filter(~pl.col("ranking").is_in(list(BASES.values())))  # not parts of the change
    found = table.group_by("ranking", "top", maintain_order=True).agg(
        value.mean(), value.min().alias("low"), value.max().alias("high")
    )
    rankings = found["ranking"].unique(maintain_order=True).to_list()
    inks = method_inks(rankings)
    at = places(found["top"])
    figure, axes = panels(COLUMN, 2.5)
    (ax,) = axes.flat
    for ranking in sorted(rankings, key=lambda name: name == "relative"):
        rows = found.filter(pl.col("ranking") == ranking).sort("top")
        curve(ax, [at[top] for top in rows["top"]], rows, inks[ranking], ranking)
    shares_axis(ax, at, "most changed parameters (%)")
    ax.set_ylabel("change held (%)")
    legend_below(figure, ax, 2)
    return figure


def restored_by_layer(table: pl.DataFrame) -> Any:
    """How many of a layer's entries are restored against random choice, which gives 1."""
    known = table.drop_nulls("layer").filter(pl.col("parameters") > 0)
    if known.is_empty():
        return None
    mean = known.group_by("share", "layer").agg(
        (pl.col("value") / pl.col("parameters")).mean().alias("times")
    )
    shares = places(mean["share"])
    figure, axes = panels(COLUMN, 2.5)
    (ax,) = axes.flat
    ax.axhline(1, color="black", linewidth=0.6, linestyle=":")
    for ink, share in zip(ordered_inks(len(shares)), shares, strict=True):
        rows = mean.filter(pl.col("share") == share).sort("layer")
        ax.plot(
            rows["layer"],
            rows["times"],
            color=ink.colour,
            marker=ink.marker,
            linestyle=ink.dash,
            label=f"{share:g} %",
        )
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("layer")
    ax.set_ylabel("restored / random choice")
    legend_below(figure, ax, 4)
    return figure


def restored_by_module(table: pl.DataFrame) -> Any:
    mean = (
        table.with_columns(pl.col("module").fill_null("other"))
        .group_by("share", "module")
        .agg(pl.col("value", "parameters").mean())
    )
    modules = mean.group_by("module").agg(pl.col("parameters").max()).sort("module")
    names = modules["module"].to_list()
    shares = list(places(mean["share"]))
    found = {(m, s): v for m, s, v in mean.select("module", "share", "value").iter_rows()}
    values = [
        [*(found.get((name, share)) for share in shares), parameters]
        for name, parameters in modules.iter_rows()
    ]
    top = max((value for row in values for value in row if value is not None), default=1.0) or 1.0
    figure, axes = panels(COLUMN, 0.85 + 0.24 * len(names))
    (ax,) = axes.flat
    heat(ax, values, top)
    ax.set_xticks(range(len(shares) + 1), [*(f"{share:g}" for share in shares), "all"])
    ax.set_yticks(range(len(names)), [shown(name) for name in names])
    ax.set_xlabel("share restored (%); all: of the parameters")
    ax.set_title("restored entries that had changed (%)")
    return figure


def change_by_place(table: pl.DataFrame) -> Any:
    """Maps of the change, layer by module, one panel a measure; the last ones are sums."""
    measures = table["measure"].unique(maintain_order=True).to_list()
    layers = table["layer"].unique(maintain_order=True).to_list()
    modules = table["module"].unique(maintain_order=True).to_list()
    told = len(layers) <= _MAX_TOLD
    height = 1.1 + (0.19 if told else 0.08) * len(layers)
    figure, axes = panels(width(measures), height, columns=len(measures), sharey=True)
    for ax, measure in zip(axes.flat, measures, strict=True):
        own = table.filter(pl.col("measure") == measure)
        found = {
            (layer, module): value
            for layer, module, value in own.select("layer", "module", "value").iter_rows()
        }
        values = [[found.get((layer, module)) for module in modules] for layer in layers]
        inner = [v for row in values[:-1] for v in row[:-1] if v is not None]
        heat(ax, values, max(inner, default=1.0) or 1.0, told=told)
        ax.set_xticks(range(len(modules)), [shown(name) for name in modules], rotation=90)
        ax.set_title(f"{shown(measure)} change held (%)")
    if told:
        axes.flat[0].set_yticks(range(len(layers)), layers)
    else:
        ticks = range(0, len(layers), 8)
        axes.flat[0].set_yticks(ticks, [layers[place] for place in ticks])
    axes.flat[0].set_ylabel("layer")
    return figure
