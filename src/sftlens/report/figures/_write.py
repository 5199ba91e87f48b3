"""Figures into files that are the same for the same tables."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sftlens.outputs import new_file
from sftlens.report.figures._drawings import DRAWINGS
from sftlens.report.figures._look import STYLE

FIGURES = "figures"
REMEDY = (
    'no figures for papers: matplotlib is not installed; pip install "sftlens[figures]", and then '
    "`sftlens report` of the run folder draws them"
)
_KINDS: Mapping[str, Mapping[str, None]] = {  # no date, so that equal figures are equal files
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


class FiguresWritten(NamedTuple):
    """What :func:`write_figures` wrote.

    Attributes:
        files: the figures, each as SVG and PDF.
        missing: why a figure is not there, by its name.
    """

    files: list[Path]
    missing: dict[str, str]


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def remove_figures(folder: Path) -> None:
    """Remove the figures of an earlier call, which may show other tables."""
    for drawing in DRAWINGS:
        for kind in _KINDS:
            (folder / f"{drawing.name}.{kind}").unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def write_figures(tables: Mapping[str, pl.DataFrame | None], folder: Path) -> FiguresWritten:
    """Draw each of the paper's tables that there is; a figure that there is none of is removed.

    Sizes are in inches of print: 3.3 wide for one column, 6.8 for the text. Letters are 7 points or
    more, and embedded.

    Args:
        tables: by name; None where one was not measured.
        folder: takes ``NAME.svg`` and ``NAME.pdf``.

    Raises:
        ImportError: when matplotlib is not installed.
        UserError: when the disk is full or a folder stands in the way.
    """
    import matplotlib as mpl

    files: list[Path] = []
    missing: dict[str, str] = {}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        for drawing in DRAWINGS:
            paths = [folder / f"{drawing.name}.{kind}" for kind in _KINDS]
            table = tables.get(drawing.table)
            if table is not None and "value" in table.columns:
                table = table.drop_nulls("value")
            figure = None if table is None or table.is_empty() else drawing.draw(table)
            if figure is None:
                for path in paths:
                    path.unlink(missing_ok=True)
                missing[drawing.name] = f"table {drawing.table} has nothing to draw"
                continue
            for path, (kind, metadata) in zip(paths, _KINDS.items(), strict=True):
                with new_file(path) as partial, warnings.catch_warnings():
                    # A name in a script that the font lacks is drawn as boxes.
                    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
                    figure.savefig(partial, format=kind, metadata=metadata)
                files.append(path)
    return FiguresWritten(files, missing)
