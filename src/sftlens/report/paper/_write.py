"""The paper's tables, written beside a study's own."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sftlens import notebook
from sftlens.errors import UserError
from sftlens.outputs import new_file
from sftlens.report.cite import write_citations
from sftlens.report.figures import FIGURES, REMEDY, can_draw, remove_figures, write_figures
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._contents import CONTENTS, Spec
from sftlens.report.paper._latex import latex_table
from sftlens.report.paper._study import Study
from sftlens.texts import encodable, json_text

PAPER = "paper"
_LISTING = "index.json"
_CITATIONS = "cite"
_KINDS = ("parquet", "csv", "tex")


@dataclass(frozen=True)
class PaperTable(notebook.Tabular):
    """One table or figure of the paper, as a study has it.

    Attributes:
        name: of its files.
        source: the paper's number for it; empty where the paper has none.
        title: what it shows.
        table: fractions, shares in percent; None where it was not measured.
        holes: what it lacks, or why it is not there.
    """

    name: str
    source: str
    title: str
    table: pl.DataFrame | None
    holes: list[str]

    def to_polars(self) -> pl.DataFrame:
        """The table.

        Raises:
            UserError: when it was not measured.
        """
        if self.table is None:
            raise UserError(f"{self.name}: was not measured: {self.holes[0]}")
        return self.table

    def _repr_html_(self) -> str:
        table = pl.DataFrame() if self.table is None else self.table
        title = f"{self.title} (paper: {self.source})" if self.source else self.title
        return notebook.as_html(title, table, self.holes)


@dataclass(frozen=True)
class PaperTables(notebook.Tabular):
    """What :func:`write_paper_tables` wrote.

    Attributes:
        files: the tables, each as Parquet, CSV and LaTeX.
        missing: why a table is not there, by its name.
        figures: of the tables, each as SVG and PDF; none without matplotlib.
        citations: how to cite the paper and this software.
        notes: what could not be made, and the remedy.
        listing: names them all, as JSON.
    """

    files: list[Path]
    missing: dict[str, str]
    figures: list[Path]
    citations: list[Path]
    notes: list[str]
    listing: Path

    def to_polars(self) -> pl.DataFrame:
        """A row a table: name, and why it is not there."""
        names = dict.fromkeys(path.stem for path in self.files)
        rows = [(name, None) for name in names] + list(self.missing.items())
        return pl.DataFrame(rows, schema={"table": pl.String, "missing": pl.String}, orient="row")

    def _repr_html_(self) -> str:
        told = [*self.notes, f"written to {self.listing.parent}"]
        return notebook.as_html("the paper's tables", self.to_polars(), told)


def paper_tables(study: Study, names: Container[str] | None = None) -> list[PaperTable]:
    """Every table and figure of the paper, or those of these names, from a study's tables."""
    wanted = [spec for spec in CONTENTS if names is None or spec.name in names]
    return [make_table(spec, study) for spec in wanted]


def write_paper_tables(run: Path) -> PaperTables:
    """Write ``paper/NAME.parquet``, ``.csv`` and ``.tex`` of what a study measured.

    In ``paper/figures`` stand the figures of these tables, where matplotlib is installed, and in
    ``paper/cite`` how to cite the paper and this software.

    What it did not measure, or what its tables do not tell for a fault of theirs, has no file:
    ``paper/index.json`` says which tables are there and why others are not.

    Args:
        run: the run folder of a study.

    Raises:
        UserError: when the disk is full or a file stands in the way.
    """
    folder = run / PAPER
    listing = folder / _LISTING
    listing.unlink(missing_ok=True)
    study = Study(run)
    files: list[Path] = []
    missing: dict[str, str] = {}
    listed: list[dict[str, Any]] = []
    tables: dict[str, pl.DataFrame | None] = {}
    for spec in CONTENTS:
        made = make_table(spec, study)
        tables[made.name] = made.table
        entry = {"name": made.name, "paper": made.source, "title": made.title}
        paths = [folder / f"{made.name}.{kind}" for kind in _KINDS]
        if made.table is None:
            for path in paths:
                path.unlink(missing_ok=True)
            missing[made.name] = made.holes[0]
            listed.append({**entry, "files": [], "num_rows": None, "holes": made.holes})
            continue
        _write(made.table, spec, paths)
        files += paths
        names = [path.name for path in paths]
        num_rows = len(made.table)
        listed.append({**entry, "files": names, "num_rows": num_rows, "holes": made.holes})
    drawn, notes = _figures(tables, folder / FIGURES)
    citations = write_citations(folder / _CITATIONS)
    content = {
        "tables": listed,
        "figures": [path.relative_to(folder).as_posix() for path in drawn],
        "citations": [path.relative_to(folder).as_posix() for path in citations],
        "notes": notes,
    }
    with new_file(listing) as path:
        path.write_text(json_text(content, indent=2), encoding="utf-8")
    return PaperTables(files, missing, drawn, citations, notes, listing)


def _figures(tables: dict[str, pl.DataFrame | None], folder: Path) -> tuple[list[Path], list[str]]:
    if not can_draw():
        remove_figures(folder)
        return [], [REMEDY]
    return write_figures(tables, folder).files, []


def make_table(spec: Spec, study: Study) -> PaperTable:
    """One table, or why it is not there."""
    try:
        table = spec.make(study)
    except (NotMeasuredError, UserError) as reason:
        return PaperTable(spec.name, spec.source, spec.title, None, [str(reason)])
    return PaperTable(spec.name, spec.source, spec.title, table, spec.holes(table))


def _write(table: pl.DataFrame, spec: Spec, paths: list[Path]) -> None:
    parquet, csv, tex = paths
    with new_file(parquet) as path:
        table.write_parquet(path)
    with new_file(csv) as path:
        table.write_csv(path)
    with new_file(tex) as path:
        text = latex_table(table, spec.layout, caption=spec.caption, label=spec.name)
        path.write_text(encodable(text), encoding="utf-8")
