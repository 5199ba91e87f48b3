"""What a study's numbers say of the paper's claims: effects, intervals, decisions.

Two random factors cross: the facts, which every model answers, and the training sets. Facts are the
units and are resampled within mastery levels, topics left aside; training sets are the clusters.
"""

from sftlens.report.inference._claim import CLAIMS_SCHEMA
from sftlens.report.inference._crossed import Contrast, Inference, infer
from sftlens.report.inference._curves import (
    HARMLESS_SCHEMA,
    SIZE_CURVES_SCHEMA,
    harmless_shares,
    size_curves,
)
from sftlens.report.inference._multiplicity import decide, holm, smallest_effect_p
from sftlens.report.inference._table import paper_claims, read_study
from sftlens.report.inference._turnover import Turnover, turnover, turnover_contrasts

__all__ = [
    "CLAIMS_SCHEMA",
    "HARMLESS_SCHEMA",
    "SIZE_CURVES_SCHEMA",
    "Contrast",
    "Inference",
    "Turnover",
    "decide",
    "harmless_shares",
    "holm",
    "infer",
    "paper_claims",
    "read_study",
    "size_curves",
    "smallest_effect_p",
    "turnover",
    "turnover_contrasts",
]
