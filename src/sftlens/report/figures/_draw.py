"""Each figure from its table; a table that has nothing to draw gives None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from sftlens.report.figures._look import (
    COLUMN,
    DOMAIN_TITLES,
    DOMAINS,
    GAINED,
    LEVELS,
    LOST,
    TEXT,
    method_inks,
    ordered_inks,
    shown,
)
from sftlens.report.figures._parts import (
    curve,
    dodge,
    heat,
    legend_below,
    panels,
    places,
    points,
    shares_axis,
    sizes_axis,
)

_TUNED, _MEAN = "tuned", "mean"
_NUM_LEVELS = len(LEVELS)
_CONTROLLED = ("relative", "random", "interpolation")


class Drawing(NamedTuple):
    """A figure for a paper.

    Attributes:
        name: of its files.
        table: the paper's table that it shows.
        draw: makes it.
    """

    name: str
    table: str
    draw: Callable[[pl.DataFrame], Any]


def _level_sizes(table: pl.DataFrame) -> Any:
    parts = table.group_by("domain", "split", maintain_order=True).agg(pl.col("num_facts"))
    figure, axes = panels(COLUMN, 0.9 + 0.28 * len(parts))
    (ax,) = axes.flat
    start = [0] * len(parts)
    ys = range(len(parts))
    for level, ink in enumerate(LEVELS):
        counts = [row[level] for row in parts["num_facts"]]
        ax.barh(
            ys,
            counts,
            left=start,
            height=0.7,
            facecolor=_paler(ink.colour),
            edgecolor=ink.colour,
            hatch=ink.hatch,
            linewidth=0.6,
            label=f"level {level}",
        )
        start = [one + more for one, more in zip(start, counts, strict=True)]
    names = [
        f"{DOMAIN_TITLES.get(domain, shown(domain))}, {shown(split)}"
        for domain, split in parts.select("domain", "split").iter_rows()
    ]
    ax.set_yticks(list(ys), names)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("facts")
    ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    legend_below(figure, ax, 3)
    return figure


def _accuracy_by_size(table: pl.DataFrame) -> Any:
    domains = table["domain"].unique(maintain_order=True).to_list()
    figure, axes = panels(_width(domains), 2.3, columns=len(domains), sharey=True)
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


def _accuracy_by_level(table: pl.DataFrame) -> Any:
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
    figure, axes = panels(_width(domains), height, columns=len(domains), sharey=True)
    for ax, domain in zip(axes.flat, domains, strict=True):
        heat(ax, [[found.get((domain, lv, test)) for test in tests] for lv in levels], top)
        ax.set_xticks(range(len(tests)), tests)
        ax.set_yticks(range(len(levels)), [str(level) for level in levels])
        ax.set_xlabel("level of the test facts")
        ax.set_title(f"{DOMAIN_TITLES.get(domain, shown(domain))}, accuracy (%)")
    axes.flat[0].set_ylabel("training level")
    return figure


def _well_known_and_kl(table: pl.DataFrame) -> Any:
    quantities = [
        (name, title, scale)
        for name, title, scale in (
            ("accuracy", "accuracy on level 4 (%)", 100.0),
            ("kl", "KL(tuned ‖ base) (nats)", 1.0),
        )
        if name in set(table["quantity"])
    ]
    figure, axes = panels(_width(quantities), 2.3, columns=len(quantities))
    for ax, (name, title, scale) in zip(axes.flat, quantities, strict=True):
        _by_size(ax, table.filter(pl.col("quantity") == name), scale)
        ax.set_ylabel(title)
    legend_below(figure, axes.flat[0], _NUM_LEVELS if len(quantities) > 1 else 3)
    return figure


def _concentration(table: pl.DataFrame) -> Any:
    value = pl.col("value")
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


def _restoration(table: pl.DataFrame) -> Any:
    """The paper's ranking beside its two controls, with intervals."""
    return _by_share(_domains(table), _CONTROLLED, bars=True)


def _restoration_methods(table: pl.DataFrame) -> Any:
    """Every method; without intervals, which would hide the lines."""
    others = set(table["method"]) - {_TUNED, *_CONTROLLED}
    return _by_share(_domains(table), None, bars=False) if others else None


def _training_set(table: pl.DataFrame) -> Any:
    return _by_share({"accuracy on the\ntraining facts (%)": table}, _CONTROLLED, bars=True)


def _domains(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {
        f"{DOMAIN_TITLES.get(domain, shown(domain))}\naccuracy (%)": table.filter(
            pl.col("domain") == domain
        )
        for domain in table["domain"].unique(maintain_order=True)
    }


def _by_share(parts: Mapping[str, pl.DataFrame], only: Sequence[str] | None, *, bars: bool) -> Any:
    """One row of panels a part, one column a training level at its largest restored size."""
    of_share = pl.col("method") != _TUNED, pl.col("share").is_not_null()
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
            for value in own.filter(pl.col("method") == _TUNED)["value"]:
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


def _restored_by_layer(table: pl.DataFrame) -> Any:
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


def _restored_by_module(table: pl.DataFrame) -> Any:
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
    ax.set_title("restored entries (%)")
    return figure


def _layer_groups(table: pl.DataFrame) -> Any:
    known = table.drop_nulls(["first_layer", "difference"])
    if known.is_empty():
        return None
    groups = sorted(set(known.select("first_layer", "last_layer").iter_rows()))
    domains = known["domain"].unique(maintain_order=True).to_list()
    levels = sorted(set(known["level"]))
    height = 0.9 + 0.16 * len(groups) + 0.02 * len(groups) * len(levels)
    figure, axes = panels(_width(domains), max(1.8, height), columns=len(domains), sharey=True)
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


def _strategies(table: pl.DataFrame) -> Any:
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


def _exchange(table: pl.DataFrame) -> Any:
    """Facts lost and gained by fine-tuning at the largest size, beside what asking twice gives."""
    rows = table.filter(pl.col("compared") == "base to tuned").drop_nulls("value")
    rows = rows.filter(pl.col("size") == pl.col("size").max().over("level"))
    if rows.is_empty():
        return None
    domains = rows["domain"].unique(maintain_order=True).to_list()
    levels = sorted(set(rows["level"]))
    figure, axes = panels(
        _width(domains), 0.9 + 0.24 * len(levels), columns=len(domains), sharex=True, sharey=True
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
        facecolor=_paler(ink.colour),
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


def _width(parts: Any) -> float:
    return TEXT if len(parts) > 1 else COLUMN


def _paler(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(1 - 0.35 * (1 - part) for part in to_rgb(colour))


DRAWINGS = (
    Drawing("level_sizes", "level_sizes", _level_sizes),
    Drawing("accuracy_by_size", "accuracy_by_size", _accuracy_by_size),
    Drawing("accuracy_by_level", "accuracy_by_level", _accuracy_by_level),
    Drawing("well_known_and_kl", "well_known_and_kl", _well_known_and_kl),
    Drawing("concentration", "concentration", _concentration),
    Drawing("restoration", "restoration", _restoration),
    Drawing("restoration_methods", "restoration", _restoration_methods),
    Drawing("training_set", "training_set", _training_set),
    Drawing("strategies", "strategies", _strategies),
    Drawing("restored_by_layer", "restored_by_layer", _restored_by_layer),
    Drawing("restored_by_module", "restored_by_module", _restored_by_module),
    Drawing("layer_groups", "layer_groups", _layer_groups),
    Drawing("exchange", "exchange", _exchange),
)
