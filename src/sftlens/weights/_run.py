"""What ``sftlens diff`` and ``sftlens restore`` do, whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sftlens.checkpoints import resolve_model
from sftlens.output_folder import open_output
from sftlens.progress import progress
from sftlens.weights._change import DEFINITION
from sftlens.weights._diff import PAPER_SHARES, Diff, diff
from sftlens.weights._pair import CheckpointPair, open_pair
from sftlens.weights._plan import Request
from sftlens.weights._regions import region_name
from sftlens.weights._restore import Preview, preview_restoration, restore_checkpoints
from sftlens.weights._results import DiffResult, RestoreResult

TENSORS = "tensors.parquet"
HISTOGRAM = "histogram.parquet"


def run_diff(
    base: str,
    tuned: str,
    *,
    region: str = "blocks",
    shares: Sequence[float] = PAPER_SHARES,
    out: Path | None = None,
) -> DiffResult:
    """Compare two models and, on request, write the tables of tensors and of the histogram.

    Args:
        base: folder or hub id of the base model.
        tuned: folder or hub id of the tuned model, or of a LoRA adapter.
        region: the name of a region, such as ``blocks`` or ``mlp:0-3``.
        shares: percents of the region's parameters.
        out: folder that takes the tables ``tensors`` and ``histogram`` and the manifest, whole or
            not at all. A finished folder of the same call is left as it is.

    Raises:
        UserError: as :func:`sftlens.weights.open_pair` and :func:`sftlens.weights.diff`, and when
            ``out`` holds something else.
    """
    region = region_name(region)
    pair = open_pair(resolve_model(base), resolve_model(tuned, adapter=True))
    if out is None:
        return _diff(pair, region, shares)[0]
    config = {
        "base": pair.base_identity(),
        "tuned": pair.tuned_identity(),
        "region": region,
        "shares": list(shares),
        "definition": DEFINITION,
    }
    with open_output(out, stage="diff", config=config) as output:
        if output.finished is not None:
            return DiffResult(**output.finished)
        result, found = _diff(pair, region, shares)
        found.tensors.write_parquet(output.work / TENSORS)
        found.histogram.write_parquet(output.work / HISTOGRAM)
        output.complete(result.as_json())
    return result


def _diff(pair: CheckpointPair, region: str, shares: Sequence[float]) -> tuple[DiffResult, Diff]:
    with progress("comparing", 3 * pair.num_parameters(region)) as advance:
        found = diff(pair, region=region, shares=shares, advance=advance)
    result = DiffResult(
        region=found.region,
        num_parameters=found.num_parameters,
        num_changed=found.num_changed,
        concentration=found.concentration,
        layers=found.by("layer").to_dicts(),
        modules=found.by("module").to_dicts(),
        histogram=found.histogram.to_dicts(),
        num_zero_base=found.num_zero_base,
        num_small_base=found.num_small_base,
        concentration_without_small_base=found.concentration_without_small_base,
        top={share: top._asdict() for share, top in found.top.items()},
        casts=[cast._asdict() for cast in pair.casts],
        notes=[*pair.notes, *found.notes],
    )
    return result, found


def run_restore(base: str, tuned: str, request: Request, out: Path) -> RestoreResult:
    """Write restored models; see :func:`sftlens.weights.restore_checkpoints`.

    Args:
        base: folder or hub id of the base model.
        tuned: folder or hub id of the tuned model, or of a LoRA adapter.
        request: what to do.
        out: where to write.
    """
    request = request.checked()
    pair = open_pair(resolve_model(base), resolve_model(tuned, adapter=True))
    total = (request.passes + 1) * pair.num_parameters(request.region)
    with progress("restoring", total) as advance:
        return RestoreResult(
            outputs=restore_checkpoints(pair, request, out, advance=advance),
            notes=list(pair.notes),
            casts=[cast._asdict() for cast in pair.casts],
        )


def run_preview(base: str, tuned: str, request: Request, out: Path) -> Preview:
    """What restored models would be; see :func:`sftlens.weights.preview_restoration`.

    Args:
        base: folder or hub id of the base model.
        tuned: folder or hub id of the tuned model, or of a LoRA adapter.
        request: what to do.
        out: where the models would be written.
    """
    request = request.checked()
    pair = open_pair(resolve_model(base), resolve_model(tuned, adapter=True))
    total = (request.passes + (not request.is_counted(pair))) * pair.num_parameters(request.region)
    with progress("selecting", total) as advance:
        return preview_restoration(pair, request, out, advance=advance)
