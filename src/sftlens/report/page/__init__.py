"""The page of one study: one self-contained file that works from disk and loads nothing else."""

from sftlens.report.page._page import write_report

__all__ = ["write_report"]
