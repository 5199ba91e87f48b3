"""What restoration gives back, and what of the update it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sftlens.report._answers import CONTROLLED, TUNED
from sftlens.report.figures._look import COLUMN, DOMAIN_TITLES, LEVELS, TEXT, method_inks, shown
from sftlens.report.figures._parts import (
    curve,
    dodge,
    legend_below,
    panels,
    places,
    points,
    shares_axis,
    width,
)

_NUM_LEVELS = len(LEVELS)


def restoration(table: pl.DataFrame) -> Any:
    """The paper's ranking beside its two controls, with intervals."""
    return _by_share(_domains(table), CONTROLLED, bars=True)


def restoration_methods(table: pl.DataFrame) -> Any:
    """Every method; without intervals, which would hide the lines."""
    others = set(table["method"]) - {TUNED, *CONTROLLED}
    return _by_share(_domains(table), None, bars=False) if others else None


def training_set(table: pl.DataFrame) -> Any:
    return _by_share({"accuracy on the\ntraining facts (%)": table}, CONTROLLED, bars=True)


def _domains(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {
        f"{DOMAIN_TITLES.get(domain, shown(domain))}\naccuracy (%)": table.filter(
            pl.col("domain") == domain
        )
        for domain in table["domain"].unique(maintain_order=True)
    }


def _by_share(parts: Mapping[str, pl.DataFrame], only: Sequence[str] | None, *, bars: bool) -> Any:
    """One row of panels a part, one column a training level at its largest restored size."""
    of_share = pl.col("method") != TUNED, pl.col("share").is_not_null()
    largest = pl.col("size") == pl.col("size").filter(*of_share).max().over("level")
    kept = {title: part.drop_nulls("value").filter(largest) for title, part in parts.items()}
    restored = [part.filter(*of_share) for part in kept.values()]
    methods = list(dict.fromkeys(name for part in restored for name in part["method"]))
    methods = methods if only is None else [name for name in only if name in methods]
    if not methods:
        return None
    inks, at = method_inks(methods), places(share for part in restored for share in part["share"])
    levels = sorted({level for part in restored for level in part["level"]})
    rows_below = -(-len(methods) // 5)
    figure, axes = panels(
        TEXT,
        0.65 + 0.17 * rows_below + 1.3 * len(kept),
        len(kept),
        len(levels),
        sharex=True,
        sharey="row",
    )
    for row, (title, part) in enumerate(kept.items()):
        for ax, level in zip(axes[row], levels, strict=True):
            own = part.filter(pl.col("level") == level)
            for value in own.filter(pl.col("method") == TUNED)["value"]:
                ax.axhline(100 * value, color="black", linewidth=0.6, linestyle=":")
            for place, method in enumerate(methods):
                rows = own.filter(pl.col("method") == method).drop_nulls("share").sort("share")
                beside = dodge(place, len(methods)) if bars else 0.0
                xs = [at[share] + beside for share in rows["share"]]
                curve(ax, xs, rows, inks[method], method, bars=bars)
            if row == 0:
                ax.set_title(f"trained on level {level}")
            if row == len(kept) - 1:
                shares_axis(ax, at, "share restored (%)")
                for label in ax.get_xticklabels():
                    label.set_rotation(90 if len(at) > 5 else 0)
        axes[row][0].set_ylabel(title)
        axes[row][0].set_ylim(bottom=0)
    legend_below(figure, axes[0][0], 5)
    return figure


def layer_groups(table: pl.DataFrame) -> Any:
    known = table.drop_nulls(["first_layer", "difference"])
    if known.is_empty():
        return None
    groups = sorted(set(known.select("first_layer", "last_layer").iter_rows()))
    domains = known["domain"].unique(maintain_order=True).to_list()
    levels = sorted(set(known["level"]))
    height = 0.9 + 0.16 * len(groups) + 0.02 * len(groups) * len(levels)
    figure, axes = panels(width(domains), max(1.8, height), columns=len(domains), sharey=True)
    for ax, domain in zip(axes.flat, domains, strict=True):
        ax.axvline(0, color="black", linewidth=0.6)
        for place, level in enumerate(levels):
            rows = known.filter(pl.col("domain") == domain, pl.col("level") == level)
            rows = rows.filter(pl.col("size") == pl.col("size").max())
            ys = [
                groups.index(pair) + 0.15 * (place - (len(levels) - 1) / 2)
                for pair in rows.select("first_layer", "last_layer").iter_rows()
            ]
            ends = ("difference_low", "difference_high")
            points(ax, rows, ys, LEVELS[level], f"level {level}", column="difference", ends=ends)
        names = [f"{one}" if one == last else f"{one} to {last}" for one, last in groups]
        ax.set_yticks(range(len(groups)), names)
        ax.set_xlabel("points over the tuned model")
        ax.set_title(DOMAIN_TITLES.get(domain, shown(domain)))
    axes.flat[0].invert_yaxis()
    axes.flat[0].set_ylabel("layers given back")
    legend_below(figure, axes.flat[0], _NUM_LEVELS if len(domains) > 1 else 3)
    return figure


def restoration_gains(table: pl.DataFrame) -> Any:
    """What each method gives at the chosen share, by training level."""
    known = table.drop_nulls("difference")
    methods = [name for name in CONTROLLED if name in set(known["method"])]
    if not methods:
        return None
    inks = method_inks(methods)
    domains = known["domain"].unique(maintain_order=True).to_list()
    levels = sorted(set(known["level"]))
    height = 0.9 + 0.3 * len(levels)
    figure, axes = panels(width(domains), height, columns=len(domains), sharex=True, sharey=True)
    for ax, domain in zip(axes.flat, domains, strict=True):
        ax.axvline(0, color="black", linewidth=0.6)
        for place, method in enumerate(methods):
            rows = known.filter(pl.col("domain") == domain, pl.col("method") == method)
            beside = 0.2 * (place - (len(methods) - 1) / 2)
            ys = [levels.index(level) + beside for level in rows["level"]]
            ends = ("difference_low", "difference_high")
            points(ax, rows, ys, inks[method], method, column="difference", ends=ends)
        ax.set_yticks(range(len(levels)), [str(level) for level in levels])
        ax.set_xlabel("points over the tuned model")
        ax.set_title(DOMAIN_TITLES.get(domain, shown(domain)))
    axes.flat[0].invert_yaxis()
    axes.flat[0].set_ylabel("training level")
    legend_below(figure, axes.flat[0], 3)
    return figure


def removed_norm(table: pl.DataFrame) -> Any:
    """The squared norm that each method takes out, with the range over runs."""
    methods = [name for name in CONTROLLED if name in set(table["method"])]
    if not methods:
        return None
    shown_rows = table.filter(pl.col("method").is_in(methods))
    inks, at = method_inks(methods), places(shown_rows["share"])
    figure, axes = panels(COLUMN, 2.5)
    (ax,) = axes.flat
    for method in methods:
        rows = shown_rows.filter(pl.col("method") == method).sort("share")
        curve(ax, [at[share] for share in rows["share"]], rows, inks[method], method)
    shares_axis(ax, at, "share restored (%)")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("squared norm removed (%)")
    legend_below(figure, ax, 3)
    return figure
