"""The paper's tables as a study wrote them, for the parts of the page that stand on them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sftlens.report.paper import PAPER, Study, paper_tables
from sftlens.tables import read_table


def paper_numbers(run: Path, names: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Tables of the folder ``paper``; those that are not there are made from the study's tables.

    Args:
        run: the run folder of a study.
        names: of the tables.

    Returns:
        The tables by name; what was not measured is absent.

    Raises:
        UserError: when a table cannot be read.
    """
    paths = {name: run / PAPER / f"{name}.parquet" for name in names}
    if any(path.is_file() for path in paths.values()):
        return {
            name: read_table(path, remedy="run the study again")
            for name, path in paths.items()
            if path.is_file()
        }
    made = {one.name: one.table for one in paper_tables(Study(run), names)}
    return {name: table for name, table in made.items() if table is not None}
