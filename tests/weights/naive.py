"""Selection and diff by their definition, over whole models in memory.

Written from the definitions alone and sharing no code with the package: change in float32 from the
stored values, the base's in the tuned model's type; a larger key first, equal keys by tensor name
in plain string order, then by flat position; ``bottom`` turns the keys around and leaves the order
of ties; share k restores the first floor(N k / 100). Only for names spelt as those of a Llama.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

Tensors = Mapping[str, torch.Tensor]

EPSILON = np.float32(1e-8)
SMALL = np.float32(1e-4)
NULL_RUN = 1 << 15
_BITS_31, _BITS_64 = (1 << 31) - 1, (1 << 64) - 1


class Naive(NamedTuple):
    """What one share restores, by the definition."""

    masks: dict[str, np.ndarray]  # bool, flat, by tensor name
    num_restored_changed: int
    num_small_base: int  # of these
    num_zero_base: int  # of these
    returned: dict[str, int]  # how many of these lie in a tensor, by name
    tops: dict[str, float]  # the same with ties at the cut spread evenly
    num_ties: int
    norm_removed: float


class Ranked(NamedTuple):
    """A region's parameters, first restored first."""

    names: list[str]
    ends: np.ndarray  # where each tensor ends among the parameters in the order of their names
    bases: np.ndarray  # abs(b), in the order of names
    changes: np.ndarray  # abs(t - b), in the order of names
    keys: np.ndarray  # in the order of names
    order: np.ndarray  # places among the parameters in the order of names, first restored first

    def by_name(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Values in the order of names, by tensor name."""
        return dict(zip(self.names, np.split(values, self.ends[:-1]), strict=True))

    def share(self, share: float) -> Naive:
        """What a share restores."""
        num_restored = num_of(share, len(self.keys))
        chosen = np.zeros(len(self.keys), dtype=bool)
        chosen[self.order[:num_restored]] = True
        squares = self.changes.astype(np.float64) ** 2
        num_ties = 0
        weights = np.zeros(len(self.keys))  # of entries: 1 above the cut, a part at it
        if num_restored:
            last = self.keys[self.order[num_restored - 1]]
            num_ties = np.count_nonzero(self.keys == last)
            weights[chosen] = 1
            weights[self.keys == last] = np.mean(chosen[self.keys == last])
        returned = chosen & (self.changes != 0)
        weights[self.changes == 0] = 0
        return Naive(
            masks=self.by_name(chosen),
            num_restored_changed=np.count_nonzero(returned),
            num_small_base=np.count_nonzero(self.bases[returned] < SMALL),
            num_zero_base=np.count_nonzero(self.bases[returned] == 0),
            returned={n: np.count_nonzero(part) for n, part in self.by_name(returned).items()},
            tops={name: part.sum() for name, part in self.by_name(weights).items()},
            num_ties=num_ties,
            norm_removed=squares[chosen].sum() / squares.sum() if squares.any() else 0.0,
        )


def num_of(share: float, num_parameters: int) -> int:
    """floor(N k / 100), k read as the decimal it is written as."""
    numerator, denominator = Decimal(str(share)).as_integer_ratio()
    return num_parameters * numerator // (100 * denominator)


def names_of(names: Mapping[str, object], region: str) -> list[str]:
    """The region's tensors, in plain string order; ``blocks:1-2`` are the blocks 1 and 2."""
    word, _, layers = region.partition(":")
    wanted = range(10**6)
    if layers:
        first, last = layers.split("-")
        wanted = range(int(first), int(last) + 1)
    return sorted(name for name in names if _lies_in(name, word, wanted))


def _lies_in(name: str, region: str, layers: range) -> bool:
    if region == "all":
        return True
    if region == "embeddings":
        return "embed_tokens" in name or "lm_head" in name
    block = re.match(r"model\.layers\.(\d+)\.(.+)", name)
    if block is None or "norm" in name or int(block[1]) not in layers:
        return False
    part = {"blocks": "", "attention": "self_attn.", "mlp": "mlp."}[region]
    return block[2].startswith(part)


def flat32(tensor: torch.Tensor) -> np.ndarray:
    """The stored values as float32, flat."""
    return tensor.float().flatten().numpy()


def size_of_base(base: torch.Tensor, tuned: torch.Tensor) -> np.ndarray:
    """abs(b) as the tuned model's type holds it."""
    return np.abs(flat32(base.to(tuned.dtype)))


def absolute(base: torch.Tensor, tuned: torch.Tensor) -> np.ndarray:
    return np.abs(flat32(tuned) - flat32(base.to(tuned.dtype)))


def relative(base: torch.Tensor, tuned: torch.Tensor) -> np.ndarray:
    return absolute(base, tuned) / (size_of_base(base, tuned) + EPSILON)


@cache
def random_keys(name: str, count: int, seed: int) -> np.ndarray:
    """The upper 31 bits of SplitMix64 at each flat position, started by a hash of seed and name."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    start = int.from_bytes(digest, "little")
    return np.array([_split_mix(start, place) for place in range(count)], dtype=np.int64)


def _split_mix(start: int, place: int) -> int:
    mixed = (start + place * 0x9E3779B97F4A7C15) & _BITS_64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _BITS_64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _BITS_64
    return ((mixed ^ (mixed >> 31)) >> 33) & _BITS_31


def rank(
    base: Tensors, tuned: Tensors, region: str, ranking: str, order: str = "top", seed: int = 0
) -> Ranked:
    """A region's parameters in the order in which they are restored."""
    names = names_of(tuned, region)

    def keys_of(name: str) -> np.ndarray:
        match ranking:
            case "relative":
                return relative(base[name], tuned[name])
            case "absolute":
                return absolute(base[name], tuned[name])
            case "small-base":
                return -size_of_base(base[name], tuned[name])
            case "random":
                return random_keys(name, tuned[name].numel(), seed)
        raise AssertionError(ranking)

    keys = np.concatenate([keys_of(name) for name in names])
    return Ranked(
        names=names,
        ends=np.cumsum([tuned[name].numel() for name in names]),
        bases=np.concatenate([size_of_base(base[name], tuned[name]) for name in names]),
        changes=np.concatenate([absolute(base[name], tuned[name]) for name in names]),
        keys=keys,
        # A stable sort leaves equal keys by name and position.
        order=np.argsort(keys if order == "bottom" else -keys, kind="stable"),
    )


def restored(base: Tensors, tuned: Tensors, masks: Mapping[str, np.ndarray]) -> dict:
    """The tuned model with the base's stored bits where the masks hold."""
    result = {name: tensor.clone() for name, tensor in tuned.items()}
    for name, mask in masks.items():
        values = base[name].to(tuned[name].dtype).flatten()
        places = torch.from_numpy(np.flatnonzero(mask))
        result[name].view(-1)[places] = values[places]
    return result


def held(values: np.ndarray, share: float) -> float | None:
    """The fraction of the values' sum that the largest of a share hold."""
    ordered = np.sort(values.astype(np.float64))[::-1]
    total = ordered.sum()
    return float(ordered[: num_of(share, len(values))].sum() / total) if total else None


def null(base: Tensors, tuned: Tensors, region: str, seed: int) -> np.ndarray:
    """The relative change with abs(t - b) shuffled within runs of consecutive entries.

    The permutations are this function's own, so that only figures that do not hang on the single
    permutation can be compared.
    """
    generator = np.random.default_rng(seed)
    found = []
    for name in names_of(tuned, region):
        changes = absolute(base[name], tuned[name])
        for start in range(0, len(changes), NULL_RUN):
            generator.shuffle(changes[start : start + NULL_RUN])
        found.append(changes / (size_of_base(base[name], tuned[name]) + EPSILON))
    return np.concatenate(found)
