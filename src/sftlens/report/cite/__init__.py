"""How to cite the paper and this software: BibTeX, RIS and EndNote."""

from sftlens.report.cite._formats import Citation, citations, write_citations

__all__ = ["Citation", "citations", "write_citations"]
