"""The parameter level: an aligned pair of checkpoints, its change, and restorations of it."""

from sftlens.weights._apply import (
    is_held_by_own_type,
    require_outside,
    taken_back,
    write_restoration,
)
from sftlens.weights._change import absolute_change, relative_change
from sftlens.weights._diff import PAPER_SHARES, Diff, diff
from sftlens.weights._engine import Engine
from sftlens.weights._keys import Order, Ranking
from sftlens.weights._measured import Measured, measure_restorations
from sftlens.weights._methods import interpolate, restore
from sftlens.weights._pair import CheckpointPair, PairTensor, open_pair
from sftlens.weights._parameters import region_parameters
from sftlens.weights._plan import Method, Planned, Request, plan
from sftlens.weights._regions import REGIONS, LayerRange, Region, region_name
from sftlens.weights._restoration import (
    Interpolation,
    PerTensor,
    Restoration,
    Restored,
)
from sftlens.weights._restore import (
    Preview,
    preview_restoration,
    restore_checkpoints,
)
from sftlens.weights._restored_output import RestoredOutput
from sftlens.weights._results import DiffResult, RestoreResult
from sftlens.weights._run import run_diff, run_preview, run_restore
from sftlens.weights._same_norm import (
    NORM_TOLERANCE,
    MatchedNorm,
    match_removed_norm,
    passes_of_match,
    require_matchable,
)
from sftlens.weights._selection import Selection, select
from sftlens.weights._shares import share_label
from sftlens.weights._storage import stored_type
from sftlens.weights._sweep import Sweep
from sftlens.weights._taken import Taken
from sftlens.weights._writer import copy_companions, needed_bytes

__all__ = [
    "NORM_TOLERANCE",
    "PAPER_SHARES",
    "REGIONS",
    "CheckpointPair",
    "Diff",
    "DiffResult",
    "Engine",
    "Interpolation",
    "LayerRange",
    "MatchedNorm",
    "Measured",
    "Method",
    "Order",
    "PairTensor",
    "PerTensor",
    "Planned",
    "Preview",
    "Ranking",
    "Region",
    "Request",
    "Restoration",
    "RestoreResult",
    "Restored",
    "RestoredOutput",
    "Selection",
    "Sweep",
    "Taken",
    "absolute_change",
    "copy_companions",
    "diff",
    "interpolate",
    "is_held_by_own_type",
    "match_removed_norm",
    "measure_restorations",
    "needed_bytes",
    "open_pair",
    "passes_of_match",
    "plan",
    "preview_restoration",
    "region_name",
    "region_parameters",
    "relative_change",
    "require_matchable",
    "require_outside",
    "restore",
    "restore_checkpoints",
    "run_diff",
    "run_preview",
    "run_restore",
    "select",
    "share_label",
    "stored_type",
    "taken_back",
    "write_restoration",
]
