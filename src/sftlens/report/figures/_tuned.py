"""What fine-tuning did to the answers and the token distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from sftlens.report.figures._look import (
    COLUMN,
    DOMAIN_TITLES,
    DOMAINS,
    GAINED,
    LEVELS,
    LOST,
    shown,
)
from sftlens.report.figures._parts import (
    curve,
    heat,
    legend_below,
    paler,
    panels,
    points,
    sizes_axis,
    width,
)

_MEAN = "mean"
_NUM_LEVELS = len(LEVELS)


def accuracy_by_size(table: pl.DataFrame) -> Any:
    domains = table["domain"].unique(maintain_order=True).to_list()
    figure, axes = panels(width(domains), 2.3, columns=len(domains), sharey=True)
    for ax, domain in zip(axes.flat, domains, strict=True):
        _by_size(ax, table.filter(pl.col("domain") == domain))
        ax.set_title(DOMAIN_TITLES.get(domain, shown(domain)))
    axes.flat[0].set_ylabel("accuracy (%)")
    legend_below(figure, axes.flat[0], _NUM_LEVELS if len(domains) > 1 else 3)
    return figure


def _by_size(ax: Any, table: pl.DataFrame, scale: float = 100.0) -> None:
    for level in sorted(set(table["level"])):
        rows = table.filter(pl.col("level") == level).sort("size")
        sizes = [size * (1 + 0.03 * (level - 2)) for size in rows["size"]]
        curve(ax, sizes, rows, LEVELS[level], f"level {level}", scale=scale)
    sizes_axis(ax, table["size"])


def accuracy_by_level(table: pl.DataFrame) -> Any:
    largest = table.filter(pl.col("size") == pl.col("size").max().over("level"))
    domains = largest["domain"].unique(maintain_order=True).to_list()
    levels = sorted(set(largest["level"]))
    tests = [*sorted(set(largest["test_level"]) - {_MEAN}), _MEAN]
    found = {
        (domain, level, test): value
        for domain, level, test, value in largest.select(
            "domain", "level", "test_level", "value"
        ).iter_rows()
    }
    top = max((value for value in found.values() if value is not None), default=1.0) or 1.0
    height = 0.85 + 0.26 * len(levels)
    figure, axes = panels(width(domains), height, columns=len(domains), sharey=True)
    for ax, domain in zip(axes.flat, domains, strict=True):
        heat(ax, [[found.get((domain, lv, test)) for test in tests] for lv in levels], top)
        ax.set_xticks(range(len(tests)), tests)
        ax.set_yticks(range(len(levels)), [str(level) for level in levels])
        ax.set_xlabel("level of the test facts")
        ax.set_title(f"{DOMAIN_TITLES.get(domain, shown(domain))}, accuracy (%)")
    axes.flat[0].set_ylabel("training level")
    return figure


def well_known_and_kl(table: pl.DataFrame) -> Any:
    quantities = [
        (name, title, scale)
        for name, title, scale in (
            ("accuracy", "accuracy on level 4 (%)", 100.0),
            ("kl", "KL(tuned ‖ base) (nats)", 1.0),
        )
        if name in set(table["quantity"])
    ]
    figure, axes = panels(width(quantities), 2.3, columns=len(quantities))
    for ax, (name, title, scale) in zip(axes.flat, quantities, strict=True):
        _by_size(ax, table.filter(pl.col("quantity") == name), scale)
        ax.set_ylabel(title)
    legend_below(figure, axes.flat[0], _NUM_LEVELS if len(quantities) > 1 else 3)
    return figure


def kl_by_run(table: pl.DataFrame) -> Any:
    """A point a model: its mean KL, and its accuracy on the same facts."""
    figure, axes = panels(COLUMN, 2.5)
    (ax,) = axes.flat
    for level in sorted(set(table["level"])):
        rows, ink = table.filter(pl.col("level") == level), LEVELS[level]
        ax.plot(
            rows["kl"],
            [100 * value for value in rows["value"]],
            color=ink.colour,
            marker=ink.marker,
            linestyle="none",
            alpha=0.85,
            label=f"level {level}",
        )
    ax.set_xlabel("KL(tuned ‖ base) (nats)")
    ax.set_ylabel("accuracy on the same facts (%)")
    legend_below(figure, ax, 3)
    return figure


def strategies(table: pl.DataFrame) -> Any:
    known = table.drop_nulls("value")
    names = list(dict.fromkeys(map(_strategy, known.iter_rows(named=True))))
    figure, axes = panels(COLUMN, 0.8 + 0.23 * len(names))
    (ax,) = axes.flat
    domains = known["domain"].unique(maintain_order=True).to_list()
    for place, domain in enumerate(domains):
        rows = known.filter(pl.col("domain") == domain)
        ys = [
            names.index(_strategy(row)) + 0.22 * (place - (len(domains) - 1) / 2)
            for row in rows.iter_rows(named=True)
        ]
        points(ax, rows, ys, DOMAINS[domain], DOMAIN_TITLES[domain])
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("accuracy (%)")
    legend_below(figure, ax, 2)
    return figure


def _strategy(row: Mapping[str, Any]) -> str:
    name = shown(row["method"] or row["strategy"])
    share = "" if row["share"] is None else f" {row['share']:g} %"
    level = "" if row["level"] is None else f", lv. {row['level']}"
    return f"{name}{share}{level}"


def exchange(table: pl.DataFrame) -> Any:
    """Facts lost and gained by fine-tuning at the largest size, beside what asking twice gives."""
    rows = table.filter(pl.col("compared") == "base to tuned").drop_nulls("value")
    rows = rows.filter(pl.col("size") == pl.col("size").max().over("level"))
    if rows.is_empty():
        return None
    domains = rows["domain"].unique(maintain_order=True).to_list()
    levels = sorted(set(rows["level"]))
    figure, axes = panels(
        width(domains), 0.9 + 0.24 * len(levels), columns=len(domains), sharex=True, sharey=True
    )
    for ax, domain in zip(axes.flat, domains, strict=True):
        ax.axvline(0, color="black", linewidth=0.6)
        for name, ink, side in (("lost", LOST, -1), ("gained", GAINED, 1)):
            _exchanged(ax, rows.filter(pl.col("domain") == domain), name, ink, side, levels)
        ax.set_yticks(range(len(levels)), [str(level) for level in levels])
        ax.grid(visible=False, axis="y")
        ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        ax.set_xlabel("test facts lost and gained (%)")
        ax.set_title(DOMAIN_TITLES.get(domain, shown(domain)))
    axes.flat[0].invert_yaxis()
    axes.flat[0].set_ylabel("training level")
    legend_below(figure, axes.flat[0], 4 if len(domains) > 1 else 2)
    return figure


def _exchanged(
    ax: Any, rows: pl.DataFrame, name: str, ink: Any, side: int, levels: list[int]
) -> None:
    own = rows.filter(pl.col("quantity") == name)
    floor = rows.filter(pl.col("quantity") == f"floor_{name}")
    error = [
        [100 * (v - low) for v, low in own.select("value", "low").iter_rows()],
        [100 * (high - v) for v, high in own.select("value", "high").iter_rows()],
    ]
    ax.barh(
        [levels.index(level) for level in own["level"]],
        [side * 100 * value for value in own["value"]],
        height=0.66,
        xerr=error if side > 0 else error[::-1],
        error_kw={"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7},
        facecolor=paler(ink.colour),
        edgecolor=ink.colour,
        hatch=ink.hatch,
        linewidth=0.6,
        label=name,
    )
    if floor.height:
        ax.plot(
            [side * 100 * value for value in floor["value"]],
            [levels.index(level) for level in floor["level"]],
            color="black",
            marker="|",
            markersize=8,
            linestyle="none",
            label="asked twice" if side > 0 else None,
        )
