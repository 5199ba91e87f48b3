"""Every table and figure of the paper, from a study's run folder, with intervals and controls.

Each is one long table, a measured value a row: as Parquet and CSV in fractions (shares in percent),
as LaTeX in percent. What a study did not measure is told, and never zero.
"""

from sftlens.report.paper._comparison import COMPARISON_SCHEMA, comparison
from sftlens.report.paper._contents import CONTENTS
from sftlens.report.paper._study import Study
from sftlens.report.paper._write import (
    PAPER,
    PaperTable,
    PaperTables,
    paper_tables,
    write_paper_tables,
)

__all__ = [
    "COMPARISON_SCHEMA",
    "CONTENTS",
    "PAPER",
    "PaperTable",
    "PaperTables",
    "Study",
    "comparison",
    "paper_tables",
    "write_paper_tables",
]
