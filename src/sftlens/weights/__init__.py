"""The parameter level: an aligned pair of checkpoints, its change, and restorations of it."""

from sftlens.weights._apply import Interpolation, matched_interpolation, restored_tensors
from sftlens.weights._change import Order, Ranking, absolute_change, relative_change
from sftlens.weights._diff import PAPER_SHARES, Diff, diff
from sftlens.weights._methods import interpolate, restore
from sftlens.weights._pair import REGIONS, CheckpointPair, PairTensor, Region, open_pair
from sftlens.weights._restore import Method, RestoredOutput, restore_checkpoints
from sftlens.weights._run import run_diff, run_restore
from sftlens.weights._selection import Selection, select
from sftlens.weights._shares import share_label

__all__ = [
    "PAPER_SHARES",
    "REGIONS",
    "CheckpointPair",
    "Diff",
    "Interpolation",
    "Method",
    "Order",
    "PairTensor",
    "Ranking",
    "Region",
    "RestoredOutput",
    "Selection",
    "absolute_change",
    "diff",
    "interpolate",
    "matched_interpolation",
    "open_pair",
    "relative_change",
    "restore",
    "restore_checkpoints",
    "restored_tensors",
    "run_diff",
    "run_restore",
    "select",
    "share_label",
]
