"""What ``sftlens diff`` and ``sftlens restore`` do, whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sftlens.checkpoints import model_identity, resolve_model
from sftlens.manifest import finished_result, write_manifest
from sftlens.outputs import new_folder, require_free
from sftlens.progress import progress
from sftlens.weights._change import Order
from sftlens.weights._diff import PAPER_SHARES, diff
from sftlens.weights._pair import open_pair
from sftlens.weights._restore import Method, RestoredOutput, restore_checkpoints

TENSORS = "tensors.parquet"


def run_diff(
    base: str,
    tuned: str,
    *,
    region: str = "blocks",
    shares: Sequence[float] = PAPER_SHARES,
    out: Path | None = None,
) -> dict[str, Any]:
    """Compare two models and, on request, write the table of tensors.

    Args:
        base: folder or hub id of the base model.
        tuned: folder or hub id of the tuned model.
        region: ``blocks``, ``embeddings`` or ``all``.
        shares: percents of the region's parameters.
        out: folder that takes the table ``tensors`` and the manifest, whole or not at all. A
            finished folder of the same call is left as it is.

    Returns:
        ``region``, ``num_parameters``, ``num_changed``, ``concentration`` as
        :attr:`sftlens.weights.Diff.concentration`, and ``notes`` on how the two were aligned.

    Raises:
        UserError: as :func:`sftlens.weights.open_pair` and :func:`sftlens.weights.diff`, and when
            ``out`` holds something else.
    """
    base_folder, tuned_folder = resolve_model(base), resolve_model(tuned)
    pair = open_pair(base_folder, tuned_folder)
    config: dict[str, Any] = {}
    if out is not None:
        config = {
            "base": model_identity(base_folder),
            "tuned": model_identity(tuned_folder),
            "region": region,
            "shares": list(shares),
        }
        if finished := finished_result(out, stage="diff", config=config):
            return finished
        require_free(out)
    with progress("comparing", 3 * pair.num_parameters(region)) as advance:
        found = diff(pair, region=region, shares=shares, advance=advance)
    result = {
        "region": region,
        "num_parameters": found.num_parameters,
        "num_changed": found.num_changed,
        "concentration": found.concentration,
        "notes": list(pair.notes),
    }
    if out is not None:
        with new_folder(out) as work:
            found.tensors.write_parquet(work / TENSORS)
            write_manifest(work, stage="diff", config=config, result=result)
    return result


def run_restore(
    base: str,
    tuned: str,
    shares: Sequence[float],
    out: Path,
    *,
    method: Method = "relative",
    order: Order = "top",
    region: str = "blocks",
    seed: int = 0,
) -> list[RestoredOutput]:
    """Write restored models; see :func:`sftlens.weights.restore_checkpoints`.

    Args:
        base: folder or hub id of the base model.
        tuned: folder or hub id of the tuned model.
    """
    base_folder, tuned_folder = resolve_model(base), resolve_model(tuned)
    passes = 4 if method == "interpolation" else 3
    total = passes * open_pair(base_folder, tuned_folder).num_parameters(region)
    with progress("restoring", total) as advance:
        return restore_checkpoints(
            base_folder,
            tuned_folder,
            shares,
            out,
            method=method,
            order=order,
            region=region,
            seed=seed,
            advance=advance,
        )
