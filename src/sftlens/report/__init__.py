"""The report of a study: its tables read, its questions answered, one page written.

The page is one self-contained file: it works from disk and loads nothing from a network.
"""

from sftlens.report._page import write_report

__all__ = ["write_report"]
