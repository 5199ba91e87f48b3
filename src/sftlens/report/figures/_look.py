"""How figures look: sizes of a paper's columns, and colours that colour-blind readers tell apart.

The colours are those of Okabe and Ito (Color Universal Design, 2008); each goes with a marker and a
dash of its own, so that figures can be read in grey too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

COLUMN, TEXT = 3.3, 6.8  # inches: one column of two, and both
_POINTS = 7.5  # of the letters
_MAX_NAME = 28  # characters of a name from the data


class Ink(NamedTuple):
    """How one kind of thing is drawn."""

    colour: str
    marker: str
    dash: Any = "-"
    hatch: str = ""


_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_BLUE, _VERMILION, _PURPLE, _GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"

LEVELS = (
    Ink(_BLUE, "o", "-", "////"),
    Ink(_ORANGE, "s", (0, (5, 1.5)), "...."),
    Ink(_GREEN, "D", (0, (3, 1, 1, 1)), "\\\\\\\\"),
    Ink(_VERMILION, "^", (0, (1, 1)), "xxxx"),
    Ink(_BLACK, "v", (0, (8, 1.5)), ""),
)
LOST, GAINED = Ink(_VERMILION, "v", hatch="////"), Ink(_BLUE, "^", hatch="....")
DOMAINS = {"in": Ink(_BLUE, "o", hatch="////"), "out": Ink(_VERMILION, "s", hatch="....")}
_METHODS = {
    "relative": Ink(_VERMILION, "o", "-", "////"),
    "random": Ink(_GREY, "s", (0, (1, 1)), "...."),
    "interpolation": Ink(_BLACK, "D", (0, (5, 1.5)), "\\\\\\\\"),
    "absolute": Ink(_BLUE, "^", (0, (3, 1, 1, 1)), "xxxx"),
    "null": Ink(_GREY, "s", (0, (1, 1)), "...."),
    "relative minus null": Ink(_GREEN, "D", (0, (8, 1.5)), "++++"),
}
_OTHERS = (
    Ink(_BLUE, "^", (0, (3, 1, 1, 1))),
    Ink(_GREEN, "v", (0, (8, 1.5))),
    Ink(_PURPLE, "P", (0, (2, 1))),
    Ink(_ORANGE, "X", (0, (5, 1, 1, 1, 1, 1))),
    Ink(_SKY, "<", "-"),
    Ink(_PURPLE, ">", "-"),
    Ink(_GREEN, "*", (0, (1, 2))),
)
DOMAIN_TITLES = {"in": "in-domain", "out": "out-of-domain"}
SEQUENCE = ("#ffffff", "#d3e4f0", "#8fbcdb", "#4a90c2", _BLUE, "#00426b")  # light to dark

# Names come from data: a dollar sign is a dollar sign, and no text is TeX.
STYLE: dict[str, Any] = {
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "DejaVu Sans",
    "font.size": _POINTS,
    "axes.titlesize": _POINTS,
    "axes.labelsize": _POINTS,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": _POINTS,
    "pdf.fonttype": 42,
    "pdf.use14corefonts": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "sftlens",
    "savefig.dpi": 300,
    "figure.dpi": 150,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "figure.constrained_layout.use": True,
}


def method_inks(methods: list[str]) -> dict[str, Ink]:
    """An ink for each method, the same for the same methods."""
    taken = {_METHODS[name].colour for name in methods if name in _METHODS}
    spare = [ink for ink in _OTHERS if ink.colour not in taken] or list(_OTHERS)
    others = [name for name in methods if name not in _METHODS]
    inks = {name: spare[place % len(spare)] for place, name in enumerate(others)}
    return {name: _METHODS.get(name) or inks[name] for name in methods}


def ordered_inks(number: int) -> list[Ink]:
    """Inks of an ordered row, from dark to light (cividis)."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    colours = colormaps["cividis"]
    markers, dashes = "osD^vPX", ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
    return [
        Ink(
            to_hex(colours(0.9 * place / max(1, number - 1))),
            markers[place % len(markers)],
            dashes[place % len(dashes)],
        )
        for place in range(number)
    ]


def shown(name: object) -> str:
    """A name from the data: one line, and not so long that it pushes the figure aside."""
    text = "".join(char if char.isprintable() else " " for char in str(name)).strip()
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"
