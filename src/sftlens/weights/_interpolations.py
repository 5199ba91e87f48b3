"""The alpha at which plain interpolation removes a given norm, as a storage type rounds it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sftlens.progress import Advance, silent
from sftlens.storage_types import StorageType
from sftlens.weights._engine import Engine, best_engine
from sftlens.weights._kernels import Kernels
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._restoration import Interpolation, cast, moved, repaired
from sftlens.weights._storage import is_held, torch_type
from sftlens.weights._strengths import MAX_ROUNDS, strengths_of
from sftlens.weights._taken import norm_left


def interpolation_strengths(
    pair: CheckpointPair,
    targets: Sequence[float],
    *,
    region: str,
    dtype: StorageType | None = None,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> list[float]:
    """Search the strengths, 100 (1 - alpha), at which interpolation removes given norms.

    In exact arithmetic alpha is sqrt(1 - norm removed), which is looked at first. In a type of few
    bits the norm goes up in steps, and the nearest step stands.

    Args:
        pair: the aligned checkpoints.
        targets: fractions of the region's squared norm.
        region: of the pair.
        dtype: the type that values are stored in, by default the tuned model's own.
        engine: what the passes run on, by default the fastest there is.
        advance: is told the number of the region's entries done, :data:`MAX_ROUNDS` times all.

    Returns:
        Percents, one a target.
    """
    num_left = MAX_ROUNDS

    def measure(strengths: tuple[float, ...]) -> list[float]:
        nonlocal num_left
        num_left -= 1
        alphas = [1 - strength / 100 for strength in strengths]
        return _norms_removed(pair, alphas, region, dtype, engine, advance)

    exact = [100 * (1 - math.sqrt(1 - min(max(target, 0.0), 1.0))) for target in targets]
    found = strengths_of(targets, measure, guesses=exact)
    advance(num_left * pair.num_parameters(region))
    return found


def _norms_removed(
    pair: CheckpointPair,
    alphas: Sequence[float],
    region: str,
    dtype: StorageType | None,
    engine: Engine | None,
    advance: Advance,
) -> list[float]:
    """What :func:`sftlens.weights.taken_back` measures of interpolations.

    Entries that fine-tuning left alone add nothing where the type holds them, so that most of the
    work is left out.
    """
    nothing = [Interpolation(alpha=1, region=region)]

    def measure(kernels: Kernels, tensor: PairTensor) -> NDArray[np.float64]:
        held = is_held(tensor.tuned, dtype)
        sums = np.zeros(1 + len(alphas))
        for view, [after] in repaired(pair, kernels, tensor, nothing, torch_type(dtype)):
            base, tuned = view.floats
            places = np.flatnonzero(base != tuned) if held else np.arange(len(base))
            chosen = torch.from_numpy(places)
            sums[0] += view.norm
            for number, alpha in enumerate(alphas, start=1):
                values = cast(moved(view, alpha, chosen), after.dtype, tensor.name)
                sums[number] += norm_left(view, values, chosen)
            advance(len(base))
        return sums

    engine = engine or best_engine(pair.num_parameters(region))
    parts = list(engine.each(pair.region(region), measure).values())
    norm, *left = (math.fsum(part[number] for part in parts) for number in range(1 + len(alphas)))
    return [1 - one / norm if norm else 0.0 for one in left]
