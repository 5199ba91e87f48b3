"""Restorations applied to a pair: models written, and what was taken back measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sftlens.errors import UserError
from sftlens.progress import Advance, silent
from sftlens.storage_types import StorageType
from sftlens.weights._engine import Engine, best_engine
from sftlens.weights._kernels import Kernels
from sftlens.weights._pair import PIECE, CheckpointPair, PairTensor
from sftlens.weights._reading import FLOAT_DTYPES
from sftlens.weights._restoration import Restoration, cast, repaired
from sftlens.weights._storage import is_held, torch_type
from sftlens.weights._taken import Taken, taken, together
from sftlens.weights._writer import ModelWriter, copy_companions


def taken_back(
    pair: CheckpointPair,
    restorations: Sequence[Restoration],
    *,
    region: str = "all",
    dtype: StorageType | None = None,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> list[Taken]:
    """Measure what restorations take back, in one pass over the pair and without writing.

    Args:
        pair: the aligned checkpoints.
        restorations: each of a region that lies within ``region``.
        region: whose entries are counted; what a restoration does not touch stays tuned.
        dtype: the storage type that the values are measured in, by default the tuned model's own.
            What is written or evaluated in another type removes another norm.
        engine: what the pass runs on, by default the fastest there is.
        advance: is told the number of the region's entries done.
    """
    parts: list[list[Taken]] = [[] for _ in restorations]
    engine = engine or best_engine(pair.num_parameters(region))
    touched = [{t.name for t in pair.region(way.region)} for way in restorations]

    def measure(kernels: Kernels, tensor: PairTensor) -> list[Taken]:
        found: list[list[Taken]] = [[] for _ in restorations]
        untouched: list[Taken] = []
        own = [n for n, names in enumerate(touched) if tensor.name in names]
        ways = [restorations[n] for n in own]
        for view, pieces in repaired(pair, kernels, tensor, ways, torch_type(dtype)):
            if len(own) < len(restorations):
                output = torch_type(dtype) or view.tuned.dtype
                untouched.append(taken(view, cast(view.tuned, output, tensor.name)))
            for number, piece in zip(own, pieces, strict=True):
                found[number].append(taken(view, piece))
            advance(len(view.base))
        return [together(found[n] if n in own else untouched) for n in range(len(touched))]

    for by_way in _one_at_a_time(engine, restorations).each(pair.region(region), measure).values():
        for number, part in enumerate(by_way):
            parts[number].append(part)
    return [together(own) for own in parts]


def is_held_by_own_type(
    pair: CheckpointPair,
    restoration: Restoration,
    dtype: StorageType,
    *,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> bool:
    """Whether the tuned model's storage types hold all that a restoration gives in another type.

    They do where entries only go back whole. What lies between base and tuned is rounded.

    Args:
        pair: the aligned checkpoints.
        restoration: as :func:`sftlens.weights.plan` gives it.
        dtype: the type that it was evaluated in.
        engine: what the pass runs on, by default the fastest there is.
        advance: is told the number of the region's entries done.
    """
    if not all(is_held(t.tuned, dtype) for t in pair.tensors.values()):
        return False

    def compare(kernels: Kernels, tensor: PairTensor) -> bool:
        own, other = (
            repaired(pair, kernels, tensor, [restoration], output)
            for output in (None, torch_type(dtype))
        )
        same = True
        for (view, [stored]), (_, [evaluated]) in zip(own, other, strict=True):
            same = same and torch.equal(stored.to(evaluated.dtype), evaluated)
            advance(len(view.base))
        return same

    engine = engine or best_engine(pair.num_parameters(restoration.region))
    engine = _one_at_a_time(engine, [restoration])
    return all(engine.each(pair.region(restoration.region), compare).values())


def write_restoration(
    pair: CheckpointPair,
    restoration: Restoration,
    folder: Path,
    *,
    dtype: StorageType | None = None,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> Taken:
    """Write one restored model into an existing folder: weights, and the files beside them.

    Whoever calls sees to it that the folder appears whole or not at all.

    Args:
        pair: the aligned checkpoints.
        restoration: as :func:`sftlens.weights.plan` gives it.
        folder: where to write; holds none of the files.
        dtype: the storage type of the weights, by default the tuned model's own.
        engine: what the pass runs on, by default the fastest there is.
        advance: is told the number of the region's entries done.

    Returns:
        What was taken back of the restoration's region.
    """
    copy_companions(pair, folder, dtype)
    writer = ModelWriter(folder, pair.tuned, pair.tuned_files, dtype)
    engine = engine or best_engine(pair.num_parameters(restoration.region))
    [found] = apply(pair, restoration.region, [restoration], [writer], engine, advance, dtype=dtype)
    write_rest(pair, restoration.region, [writer], dtype)
    return found


def apply(
    pair: CheckpointPair,
    region: str,
    restorations: Sequence[Restoration],
    writers: Sequence[ModelWriter],
    engine: Engine,
    advance: Advance,
    *,
    dtype: StorageType | None = None,
    measured: bool = True,
) -> list[Taken]:
    """Go over a region once: write what there are writers for, and measure.

    Returns:
        Of each restoration, what it took back; nothing unless ``measured``.
    """
    twins = {original: twin for twin, original in pair.twins.items()}

    def repair(kernels: Kernels, tensor: PairTensor) -> list[list[Taken]]:
        places = [tensor.tuned]
        if tensor.name in twins:
            places.append(pair.tuned.tensors[twins[tensor.name]])
        found: list[list[Taken]] = [[] for _ in restorations]
        output = torch_type(dtype) or FLOAT_DTYPES[tensor.tuned.dtype]
        # The methods compute in float32, so that measuring tells what rounding makes of it.
        computed = torch.promote_types(output, torch.float32) if measured else output
        for view, exact in repaired(pair, kernels, tensor, restorations, computed):
            pieces = [cast(piece, output, tensor.name) for piece in exact]
            for writer, piece in zip(writers, pieces, strict=bool(writers)):
                for place in places:
                    writer.write(place, view.start, piece)
            if measured:
                for piece, unrounded, parts in zip(pieces, exact, found, strict=True):
                    rounded = unrounded is not piece
                    parts.append(taken(view, piece, unrounded if rounded else None))
            advance(len(view.base))
        return found

    engine = _one_at_a_time(engine, restorations)
    by_tensor = engine.each(pair.region(region), repair).values()
    if not measured:
        return []
    return [
        together(part for found in by_tensor for part in found[number])
        for number in range(len(restorations))
    ]


def write_rest(
    pair: CheckpointPair,
    region: str,
    writers: Sequence[ModelWriter],
    dtype: StorageType | None = None,
) -> None:
    """Write the tuned model's values of everything outside of the region's compared entries."""
    compared = {tensor.name: tensor.num_parameters for tensor in pair.region(region)}
    compared |= {
        twin: compared[original] for twin, original in pair.twins.items() if original in compared
    }
    for name, info in pair.tuned.tensors.items():
        done = compared.get(name, 0)
        if info.dtype in FLOAT_DTYPES:
            stored = pair.tuned_files.entries(info)
            output = torch_type(dtype) or stored.dtype
        else:  # bytes, whatever they mean
            stored = pair.tuned_files.stored_bytes(info)
            output = stored.dtype
        for start in range(done, len(stored), 2 * PIECE):
            values = cast(stored[start : start + 2 * PIECE], output, name)
            for writer in writers:
                writer.write(info, start, values)


def require_outside(out: Path, pair: CheckpointPair) -> None:
    """Refuse to write into one of the pair's folders.

    Raises:
        UserError: when ``out`` lies in one of them.
    """
    for folder in (pair.base.folder, pair.tuned.folder):
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{out}: lies in the model folder {folder}; choose a place outside")


def _one_at_a_time(engine: Engine, restorations: Sequence[Restoration]) -> Engine:
    """One tensor in memory, and torch's own threads, where whole tensors are needed."""
    if any(restoration.needs_whole_tensors for restoration in restorations):
        return replace(engine, num_threads=1)
    return engine
