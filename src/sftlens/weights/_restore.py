"""Restored models on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sftlens.checkpoints import model_name, weights_hash
from sftlens.errors import UserError
from sftlens.manifest import MANIFEST, finished_result, write_manifest
from sftlens.outputs import new_folder, require_free
from sftlens.progress import Advance, silent
from sftlens.weights._apply import Interpolation, matched_interpolation
from sftlens.weights._card import Recipe, model_card
from sftlens.weights._change import Order, change_of
from sftlens.weights._methods import interpolate, restore
from sftlens.weights._pair import PIECE, CheckpointPair, PairTensor, Piece, open_pair
from sftlens.weights._selection import (
    Marker,
    Selection,
    Tally,
    checked_criterion,
    find_cuts,
    select,
)
from sftlens.weights._shares import checked_shares, share_label
from sftlens.weights._writer import (
    ModelWriter,
    copy_companions,
    require_space,
)

Method = Literal["relative", "absolute", "random", "small-base", "interpolation"]


@dataclass(frozen=True, kw_only=True)
class RestoredOutput:
    """One restored model; the counts are those of :class:`Selection`.

    The counts are None for interpolation, which restores no parameter and moves all; ``alpha`` is
    None for all else.
    """

    share: float
    path: Path
    num_parameters: int
    num_restored: int | None
    num_restored_changed: int | None
    num_ties: int | None
    norm_removed: float
    alpha: float | None
    warning: str | None

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {**asdict(self), "path": str(self.path)}


def restore_checkpoints(
    base: Path,
    tuned: Path,
    shares: Sequence[float],
    out: Path,
    *,
    method: Method = "relative",
    order: Order = "top",
    region: str = "blocks",
    seed: int = 0,
    advance: Advance = silent,
) -> list[RestoredOutput]:
    """Write complete model folders in which a share of the parameters is the base's again.

    One share makes ``out`` the model folder; several make ``out/share-20`` and so on. A folder
    holds the weights in the tuned model's storage types and files, its other small files
    (configuration, tokenizer, chat template, generation configuration), ``manifest.json`` and
    ``README.md``. All of it appears whole or not at all; memory does not grow with the model. The
    pair is read three times, however many shares there are.

    Args:
        base: the folder of the base model.
        tuned: the folder of the tuned model.
        shares: percents of the region's parameters.
        out: where to write. A finished folder of the same call is left as it is.
        method: the ranking by which parameters are given back (see :func:`select`), or
            ``interpolation``, which removes as much of the update's squared norm as a restoration
            of the share by relative change: base + alpha (tuned - base).
        order: ``bottom`` gives back the other end of the ranking first.
        region: ``blocks``, ``embeddings`` or ``all``.
        seed: of the random ranking.
        advance: is told the number of the region's entries done, three times all of them; four
            times for interpolation.

    Raises:
        UserError: as :func:`open_pair` and :func:`select`, and when ``out`` holds something else or
            the disk has too little room.
    """
    shares = checked_shares(shares)
    if method not in get_args(Method):
        raise UserError(f"method {method!r}: choose from {', '.join(get_args(Method))}")
    _require_outside(out, base, tuned)
    if not (out / MANIFEST).is_file():
        require_free(out)
    pair = open_pair(base, tuned)
    ranking = "relative" if method == "interpolation" else method
    checked_criterion(ranking, order, region, seed)
    recipe = Recipe(
        base=model_name(base),
        tuned=model_name(tuned),
        base_hash=weights_hash(pair.base),
        tuned_hash=weights_hash(pair.tuned),
        method=method,
        order=order,
        region=region,
        seed=seed,
        notes=pair.notes,
    )
    if finished := _finished(out, recipe, shares):
        return finished
    require_free(out)
    require_space(pair.tuned, out, len(shares))
    with new_folder(out) as work:
        folders = [work] if len(shares) == 1 else [work / _subfolder(share) for share in shares]
        for folder in folders:
            folder.mkdir(exist_ok=True)
            copy_companions(pair.tuned, folder)
        writers = [ModelWriter(folder, pair.tuned, pair.tuned_files) for folder in folders]
        if method == "interpolation":
            selections = select(pair, shares=shares, order=order, region=region, advance=advance)
            interpolations = [matched_interpolation(selection) for selection in selections]
            _write_interpolations(pair, interpolations, writers, advance)
            outputs = [
                _output(selection, out, interpolation.alpha)
                for selection, interpolation in zip(selections, interpolations, strict=True)
            ]
        else:
            selections = _write_selections(pair, recipe, shares, writers, advance)
            outputs = [_output(selection, out, None) for selection in selections]
        if len(shares) > 1:
            outputs = [replace(o, path=_place(out, shares, o.share)) for o in outputs]
            _describe(work, recipe, outputs)
        for folder, output in zip(folders, outputs, strict=True):
            _describe(folder, recipe, [output])
            (folder / "README.md").write_text(model_card(recipe, output), encoding="utf-8")
    return outputs


def _require_outside(out: Path, *inputs: Path) -> None:
    for folder in inputs:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{out}: lies in the model folder {folder}; choose a place outside")


def _finished(out: Path, recipe: Recipe, shares: Sequence[float]) -> list[RestoredOutput] | None:
    """What an earlier call of the same recipe left at ``out``, or None."""
    found = finished_result(out, stage="restore", config=_config(recipe, shares))
    if found is None:
        return None
    return [
        RestoredOutput(**{**output, "path": _place(out, shares, output["share"])})
        for output in found["outputs"]
    ]


def _place(out: Path, shares: Sequence[float], share: float) -> Path:
    return out if len(shares) == 1 else out / _subfolder(share)


def _subfolder(share: float) -> str:
    return f"share-{share_label(share)}"


def _write_selections(
    pair: CheckpointPair,
    recipe: Recipe,
    shares: Sequence[float],
    writers: Sequence[ModelWriter],
    advance: Advance,
) -> list[Selection]:
    criterion = checked_criterion(recipe.method, recipe.order, recipe.region, recipe.seed)
    cuts = find_cuts(pair, criterion, shares, advance=advance)
    tally = Tally(cuts)
    markers = [Marker(cut, cut.quota) for cut in cuts]
    for tensor in pair.region(recipe.region):
        tally.begin(tensor)
        for piece in pair.pieces(tensor):
            change = change_of(piece.base, piece.tuned)
            keys = criterion.keys(tensor, piece, change)
            tally.add(change, keys)
            for marker, writer in zip(markers, writers, strict=True):
                mask = torch.from_numpy(marker.mask(keys))
                values = restore(piece.base, piece.tuned, mask)
                _write_piece(pair, writer, tensor, piece, values)
            advance(len(keys))
    _write_rest(pair, recipe.region, writers)
    return tally.selections(criterion, shares)


def _write_interpolations(
    pair: CheckpointPair,
    interpolations: Sequence[Interpolation],
    writers: Sequence[ModelWriter],
    advance: Advance,
) -> None:
    region = interpolations[0].region
    for tensor in pair.region(region):
        for piece in pair.pieces(tensor):
            for interpolation, writer in zip(interpolations, writers, strict=True):
                values = interpolate(piece.base, piece.tuned, interpolation.alpha)
                _write_piece(pair, writer, tensor, piece, values)
            advance(len(piece.base))
    _write_rest(pair, region, writers)


def _write_piece(
    pair: CheckpointPair, writer: ModelWriter, tensor: PairTensor, piece: Piece, values: Tensor
) -> None:
    writer.write(tensor.tuned, piece.start, values)
    for twin, original in pair.twins.items():
        if original == tensor.name:
            writer.write(pair.tuned.tensors[twin], piece.start, values)


def _write_rest(pair: CheckpointPair, region: str, writers: Sequence[ModelWriter]) -> None:
    """Copy the tuned model's bytes of everything outside of the region's compared entries."""
    compared = {tensor.name: tensor.num_parameters for tensor in pair.region(region)}
    compared |= {
        twin: compared[original] for twin, original in pair.twins.items() if original in compared
    }
    for name, info in pair.tuned.tensors.items():
        stored = pair.tuned_files.stored_bytes(info)
        done = 0
        if name in compared:
            done = compared[name] * ((info.end - info.begin) // info.num_entries)
        for start in range(done, len(stored), 4 * PIECE):
            for writer in writers:
                writer.write(info, start, stored[start : start + 4 * PIECE])


def _output(selection: Selection, out: Path, alpha: float | None) -> RestoredOutput:
    counted = alpha is None
    return RestoredOutput(
        share=selection.share,
        path=out,
        num_parameters=selection.num_parameters,
        num_restored=selection.num_restored if counted else None,
        num_restored_changed=selection.num_restored_changed if counted else None,
        num_ties=selection.num_ties if counted else None,
        norm_removed=selection.norm_removed,
        alpha=alpha,
        warning=selection.warning,
    )


def _describe(folder: Path, recipe: Recipe, outputs: Sequence[RestoredOutput]) -> None:
    config = _config(recipe, [output.share for output in outputs])
    result = {"outputs": [output.as_json() for output in outputs], "notes": list(recipe.notes)}
    write_manifest(folder, stage="restore", config=config, result=result)


def _config(recipe: Recipe, shares: Sequence[float]) -> dict[str, Any]:
    told = {key: value for key, value in asdict(recipe).items() if key != "notes"}
    return {**told, "shares": list(shares)}
