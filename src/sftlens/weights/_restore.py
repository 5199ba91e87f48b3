"""Restored models on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftlens import notebook
from sftlens.card import stated_licence
from sftlens.checkpoints import model_name
from sftlens.disk import free_bytes
from sftlens.fingerprints import fingerprints
from sftlens.manifest import MANIFEST, write_manifest
from sftlens.output_folder import open_output
from sftlens.outputs import require_free
from sftlens.progress import Advance, silent
from sftlens.texts import encodable
from sftlens.weights._apply import require_outside, write_rest
from sftlens.weights._card import Recipe, model_card
from sftlens.weights._change import DEFINITION
from sftlens.weights._engine import Engine, best_engine
from sftlens.weights._finite import require_finite_rest
from sftlens.weights._measured import carry_out, measure_restorations, output_of
from sftlens.weights._pair import CheckpointPair
from sftlens.weights._plan import Request, plan
from sftlens.weights._restoration import Restored
from sftlens.weights._restored_output import RestoredOutput, outputs_html, outputs_table
from sftlens.weights._shares import share_label
from sftlens.weights._tensor_table import by_place, tensor_table
from sftlens.weights._writer import ModelWriter, copy_companions, needed_bytes

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Preview(notebook.Tabular):
    """What a restoration would do; made by :func:`preview_restoration`."""

    outputs: list[RestoredOutput]
    tensors: pl.DataFrame | None
    """One row a tensor of the region, as in :class:`Diff`, with how many entries each share
    restores; None for a method that ranks no entries over the region."""
    num_bytes: int
    """What the models would take on disk."""
    free_bytes: int
    """What the disk has free."""
    notes: list[str]
    """On how the two were aligned."""
    casts: list[dict[str, Any]] = field(default_factory=list)
    """As :attr:`sftlens.weights.DiffResult.casts`."""

    def to_polars(self) -> pl.DataFrame:
        """A row a model, with the fields of :class:`RestoredOutput` as columns."""
        return outputs_table(self.outputs)

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints.

        ``layers`` and ``modules`` tell where the restored entries lie; None where ``tensors`` is.
        """
        return {
            "outputs": [output.as_json() for output in self.outputs],
            "num_bytes": self.num_bytes,
            "free_bytes": self.free_bytes,
            "notes": self.notes,
            "casts": self.casts,
            "layers": self._by("layer"),
            "modules": self._by("module"),
        }

    def _by(self, place: str) -> list[dict[str, Any]] | None:
        return None if self.tensors is None else by_place(self.tensors, place).to_dicts()

    def _repr_html_(self) -> str:
        needed, free = self.num_bytes / 1e9, self.free_bytes / 1e9
        room = f"nothing written; it would take {needed:.2f} GB, and {free:.2f} GB are free"
        return outputs_html("to be restored", self.outputs, [*self.notes, room])


def preview_restoration(
    pair: CheckpointPair,
    request: Request,
    out: Path,
    *,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> Preview:
    """Everything that :func:`restore_checkpoints` would do, except for writing.

    Args:
        pair: the aligned checkpoints.
        request: what to do.
        out: where the models would be written; it need not be free.
        engine: what the passes run on, by default the fastest there is.
        advance: is told the number of the region's entries done, :attr:`Request.passes` times all
            of them, and once more for a method that is measured by doing it: interpolation, DARE
            and those that select nothing over the region.

    Raises:
        UserError: as :func:`select`, and when a weight outside of the region is NaN or infinite.
    """
    request = request.checked()
    require_finite_rest(pair, request.region, engine=engine)
    measured = measure_restorations(pair, request, engine=engine, advance=advance)
    ways = [one.planned.restoration for one in measured]
    selections = [way.selection for way in ways if isinstance(way, Restored)]
    return Preview(
        outputs=[one.output for one in measured],
        tensors=tensor_table(pair.region(request.region), selections) if selections else None,
        num_bytes=needed_bytes(pair, len(measured), request.dtype),
        free_bytes=free_bytes(out),
        notes=list(pair.notes),
        casts=[cast._asdict() for cast in pair.casts],
    )


def restore_checkpoints(
    pair: CheckpointPair,
    request: Request,
    out: Path,
    *,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> list[RestoredOutput]:
    """Write complete model folders in which part of the update is taken back.

    One share makes ``out`` the model folder; several make ``out/share-20`` and so on. A folder
    holds the weights in the tuned model's files and storage types, or in the request's, its other
    small files (configuration, tokenizer, chat template, generation configuration),
    ``manifest.json`` and ``README.md``. All of it appears whole or not at all; memory does not grow
    with the model, but for methods that look at whole tensors (see docs/methods.md). The pair is
    read four times at most, however many shares there are; more often to match a norm.

    Args:
        pair: the aligned checkpoints.
        request: what to do.
        out: where to write. A finished folder of the same call is left as it is.
        engine: what the passes run on, by default the fastest there is.
        advance: is told the number of the region's entries done, :attr:`Request.passes` times all
            of them, and once more for writing.

    Raises:
        UserError: as :func:`preview_restoration`, and when ``out`` holds something else or the disk
            has too little room.
    """
    request = request.checked()
    require_outside(out, pair)
    if not (out / MANIFEST).is_file():  # before the weights are hashed
        require_free(out)
    engine = engine or best_engine(pair.num_parameters(request.region))
    recipe = Recipe(
        base=model_name(pair.base.folder),
        tuned=model_name(pair.tuned.folder),
        base_hash=pair.base_identity()["weights"],
        tuned_hash=pair.tuned_identity()["weights"],
        licence=stated_licence(pair.base.folder, model_name(pair.base.folder)),
        request=request,
        notes=pair.notes,
    )
    places = [Path(_subfolder(share)) for share in request.shares]
    if len(places) < 2:
        places = [Path()]
    config = _config(recipe, request.shares)
    dtype = request.dtype
    with open_output(out, stage="restore", config=config) as output:
        if output.finished is not None:
            return _finished(out, output.finished)
        output.require_space(needed_bytes(pair, len(places), dtype), advice="fewer shares")
        require_finite_rest(pair, request.region, engine=engine)
        work = output.work
        for place in places:
            (work / place).mkdir(exist_ok=True)
            copy_companions(pair, work / place, dtype)
        writers = [
            ModelWriter(work / place, pair.tuned, pair.tuned_files, dtype) for place in places
        ]
        planned = plan(pair, request, engine=engine, advance=advance)
        sums = carry_out(pair, request, planned, writers, engine, advance)
        write_rest(pair, request.region, writers, dtype)
        outputs = [
            replace(output_of(pair, request, p, found), path=out / place)
            for p, found, place in zip(planned, sums, places, strict=True)
        ]
        for place, one in zip(places, outputs, strict=True):
            card = model_card(recipe, one)
            (work / place / "README.md").write_text(encodable(card), encoding="utf-8")
            if place != Path():
                _describe(work / place, recipe, one)
        output.complete(_result(recipe, outputs))
    return outputs


def _finished(out: Path, found: dict[str, Any]) -> list[RestoredOutput]:
    """What an earlier call of the same recipe left at ``out``."""
    several = len(found["outputs"]) > 1
    return [
        RestoredOutput(**{**told, "path": out / _subfolder(told["share"]) if several else out})
        for told in found["outputs"]
    ]


def _subfolder(share: float) -> str:
    return f"share-{share_label(share)}"


def _describe(folder: Path, recipe: Recipe, output: RestoredOutput) -> None:
    """Write the manifest of one model of several, as if it had been made alone."""
    config = _config(recipe, [] if output.share is None else [output.share])
    result = _result(recipe, [output])
    files = fingerprints(folder)
    write_manifest(folder, stage="restore", config=config, result=result, files=files)


def _result(recipe: Recipe, outputs: Sequence[RestoredOutput]) -> dict[str, Any]:
    return {"outputs": [output.as_json() for output in outputs], "notes": list(recipe.notes)}


def _config(recipe: Recipe, shares: Sequence[float]) -> dict[str, Any]:
    return {
        "base": recipe.base,
        "tuned": recipe.tuned,
        "base_hash": recipe.base_hash,
        "tuned_hash": recipe.tuned_hash,
        **recipe.request._asdict(),
        "shares": list(shares),
        "definition": DEFINITION,
    }
