"""The parts that figures are made of: lines and points with intervals, axes, heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from typing import Any

import polars as pl

from sftlens.report.figures._look import COLUMN, LEVELS, SEQUENCE, TEXT, Ink, shown
from sftlens.rounding import fixed

_SHARE_ROOM = 0.14  # between methods at one share


def width(parts: Sized) -> float:
    """That of a column for one panel, of the text for several."""
    return TEXT if len(parts) > 1 else COLUMN


def paler(colour: str) -> tuple[float, ...]:
    """The fill of a bar whose edge has this colour."""
    from matplotlib.colors import to_rgb

    return tuple(1 - 0.35 * (1 - part) for part in to_rgb(colour))


def panels(wide: float, height: float, rows: int = 1, columns: int = 1, **share: Any) -> Any:
    """A figure and its axes, an array (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def stacked(axes: Any, names: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """Lying bars of facts, one a name, of one piece for each mastery level."""
    start = [0] * len(names)
    ys = range(len(names))
    for level, ink in enumerate(LEVELS):
        pieces = [row[level] for row in counts]
        axes.barh(
            ys,
            pieces,
            left=start,
            height=0.7,
            facecolor=paler(ink.colour),
            edgecolor=ink.colour,
            hatch=ink.hatch,
            linewidth=0.6,
            label=f"level {level}",
        )
        start = [one + more for one, more in zip(start, pieces, strict=True)]
    axes.set_yticks(list(ys), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("facts")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def curve(
    axes: Any,
    xs: Sequence[float],
    rows: pl.DataFrame,
    ink: Ink,
    name: str,
    *,
    scale: float = 100.0,
    bars: bool = True,
) -> None:
    """A line through values with upright intervals; a null is hollow, to show what lies on it."""
    hollow = {"markersize": 6.5, "markerfacecolor": "none"} if name == "null" else {}
    axes.errorbar(
        xs,
        [scale * value for value in rows["value"]],
        yerr=_errors(rows, scale, "value", ("low", "high")) if bars and len(rows) else None,
        color=ink.colour,
        marker=ink.marker,
        linestyle=ink.dash,
        elinewidth=0.7,
        capsize=1.5,
        capthick=0.7,
        label=shown(name),
        zorder=2.4 if name == "relative" else 2.2,
        **hollow,
    )


def points(
    axes: Any,
    rows: pl.DataFrame,
    ys: Sequence[float],
    ink: Ink,
    name: str,
    *,
    column: str = "value",
    ends: tuple[str, str] = ("low", "high"),
) -> None:
    """Points with lying intervals, one a row; fractions as percent."""
    axes.errorbar(
        [100 * value for value in rows[column]],
        ys,
        xerr=_errors(rows, 100.0, column, ends) if len(rows) else None,
        color=ink.colour,
        marker=ink.marker,
        linestyle="none",
        elinewidth=0.7,
        capsize=1.5,
        capthick=0.7,
        label=shown(name),
    )


def _errors(
    rows: pl.DataFrame, scale: float, column: str, ends: tuple[str, str]
) -> list[list[float]]:
    low, high = ends
    below, above = [], []
    for row in rows.iter_rows(named=True):
        value = row[column]
        below.append(0.0 if row[low] is None else max(0.0, scale * (value - row[low])))
        above.append(0.0 if row[high] is None else max(0.0, scale * (row[high] - value)))
    return [below, above]


def heat(
    axes: Any, values: Sequence[Sequence[float | None]], top: float, *, told: bool = True
) -> Any:
    """A map of fractions; told: they are written into its cells, as percent."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("sequence", SEQUENCE)
    shades = [[float("nan") if value is None else 100 * value for value in row] for row in values]
    image = axes.imshow(shades, cmap=colours, vmin=0, vmax=100 * top, aspect="auto")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    for y, row in enumerate(values if told else []):
        for x, value in enumerate(row):
            text = "–" if value is None else fixed(100 * value)
            dark = value is not None and value > 0.55 * top
            axes.text(
                x, y, text, ha="center", va="center", fontsize=7, color="white" if dark else "black"
            )
    return image


def sizes_axis(axes: Any, sizes: Iterable[int]) -> None:
    """A logarithmic axis with a tick at each size."""
    ticks = sorted(set(sizes))
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("training facts")
    if len(ticks) > 5:
        for label in axes.get_xticklabels():
            label.set_rotation(45)


def places(values: Iterable[float]) -> dict[float, int]:
    """Evenly spaced places of the distinct values, ascending."""
    return {value: place for place, value in enumerate(sorted(set(values)))}


def shares_axis(axes: Any, of: dict[float, int], title: str) -> None:
    """An axis with one place for each share."""
    axes.set_xticks(list(of.values()), [f"{share:g}" for share in of])
    axes.set_xlabel(title)


def dodge(place: int, number: int) -> float:
    """How far one of several methods stands beside a share's place."""
    return _SHARE_ROOM * (place - (number - 1) / 2) if number < 8 else 0.0


def legend_below(figure: Any, axes: Any, num_columns: int) -> None:
    """One legend for all panels, under them."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, names, loc="outside lower center", ncols=min(num_columns, len(names))
        )
