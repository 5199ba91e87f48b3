"""Text and numbers as LaTeX shows them."""

from __future__ import annotations

NOTHING = "--"
_FRACTIONS = ("fraction", "accuracy")  # units that a reader is shown as percent
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "‖": r"\textbar\textbar{}",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "α": r"\ensuremath{\alpha}",
    "²": r"\textsuperscript{2}",
}


def escaped(text: str) -> str:
    """Text as LaTeX shows it, control characters as spaces; other scripts need LuaLaTeX."""
    return "".join(_SPECIAL.get(char, char if char.isprintable() else " ") for char in text)


def name_text(value: object) -> str:
    """What names a row or a column."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else escaped(str(value))


def number_text(value: float, unit: str) -> str:
    """Fractions and accuracies in percent."""
    text = f"{100 * value:.1f}" if unit in _FRACTIONS else f"{value:.3f}"
    negative = text.startswith("-") and float(text) != 0
    return (r"\ensuremath{-}" if negative else "") + text.lstrip("-")
