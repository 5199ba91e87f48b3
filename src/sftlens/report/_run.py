"""Everything that is written about a run folder, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sftlens.disk import full_disk_reported
from sftlens.locks import locked
from sftlens.manifest import read_manifest, record_rewritten
from sftlens.report._tables import STAGE
from sftlens.report.page import write_report
from sftlens.report.paper import PAPER, PaperTables, write_paper_tables


class RunReport(NamedTuple):
    """The page of a run folder, and the paper's tables beside it."""

    page: Path
    paper: PaperTables


def write_run_report(run: Path) -> RunReport:
    """Write the page and the paper's tables of a study's run folder.

    Raises:
        UserError: when the folder is no study's, its tables are not sound, another process is at
            work on it, or the disk is full.
    """
    read_manifest(run, STAGE)
    with full_disk_reported(run), locked(run, inside=True):
        paper = write_paper_tables(run)
        page = write_report(run)
        record_rewritten(run, STAGE, [page.name, PAPER])
    return RunReport(page, paper)
