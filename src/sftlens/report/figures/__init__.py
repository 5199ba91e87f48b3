"""The paper's tables as figures for a paper: SVG and PDF, sized for a column or for the text.

They need matplotlib (``pip install "sftlens[figures]"``), which is loaded when one is drawn.
"""

from sftlens.report.figures._write import (
    FIGURES,
    REMEDY,
    FiguresWritten,
    can_draw,
    remove_figures,
    write_figures,
)

__all__ = ["FIGURES", "REMEDY", "FiguresWritten", "can_draw", "remove_figures", "write_figures"]
