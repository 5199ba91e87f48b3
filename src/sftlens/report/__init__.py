"""The report of a study: its tables read, its questions answered, and shown in these ways.

- `page`: one study as one HTML file;
- `compare`: several side by side;
- `paper`: the paper's tables as Parquet, CSV and LaTeX;
- `figures`: its figures as SVG and PDF;
- `cite`: how to cite both;
- `inference`: the paper's claims, judged by a stated rule.
"""

from sftlens.report._run import RunReport, write_run_report
from sftlens.report.page import write_report

__all__ = ["RunReport", "write_report", "write_run_report"]
