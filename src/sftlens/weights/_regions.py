"""Regions: which parameters count, told by a name such as ``mlp:0-3,28-31``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from sftlens.errors import UserError
from sftlens.weights._architecture import Role

Region = Literal["blocks", "attention", "mlp", "embeddings", "all"]
"""``blocks``: every parameter of the decoder blocks except those of norms (the paper's
"transformer"). ``attention``: of these, the ones that mix tokens: attention, or the linear
attention, state-space mixer or short convolution in its place. ``mlp``: the rest of ``blocks``.
``embeddings``: token embeddings and output head. ``all``: every stored float.

Each but ``embeddings`` may be followed by layers, counted from 0, last ones included:
``blocks:0-3``, ``mlp:0-3,28-31``, ``attention:5``. ``all`` is then what lies within these blocks,
norms included."""

REGIONS: tuple[Region, ...] = get_args(Region)

_LAYERS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


class LayerRange(NamedTuple):
    """Consecutive decoder blocks, counted from 0, the last one included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class ParsedRegion:
    """What the name of a region says; ``str`` gives the name again, in its normal form.

    ``layers`` are in rising order and neither overlap nor touch; None is the whole model.
    """

    region: Region
    layers: tuple[LayerRange, ...] | None

    def __str__(self) -> str:
        if self.layers is None:
            return self.region
        return f"{self.region}:{','.join(map(str, self.layers))}"

    def holds(self, role: Role) -> bool:
        """Whether a tensor of this role lies in the region."""
        if self.layers is not None:
            layer = role.layer
            if layer is None or not any(first <= layer <= last for first, last in self.layers):
                return False
        match self.region:
            case "blocks":
                return role.kind == "block"
            case "attention" | "mlp":
                return role.part == self.region
            case "embeddings":
                return role.kind in ("embedding", "head")
            case "all":
                return True

    def require_layers(self, num_layers: int) -> None:
        """Refuse layers that a model does not have.

        Raises:
            UserError: when a layer of the region is ``num_layers`` or higher.
        """
        last = self.layers[-1].last if self.layers else -1
        if last >= num_layers:
            raise UserError(
                f"region {str(self)!r}: there is no layer {last}; the model has {num_layers} "
                f"layers, 0 to {num_layers - 1}"
            )


def parse_region(name: str) -> ParsedRegion:
    """Read the name of a region, as :data:`Region` describes it.

    Raises:
        UserError: when there is no such region, when its layers are no numbers or a range runs
            backwards, and when layers are asked of the embeddings.
    """
    word, colon, layers = name.partition(":")
    region = next((known for known in REGIONS if known == word), None)
    if region is None:
        raise UserError(f"region {name!r}: there is none; choose from {', '.join(REGIONS)}")
    if not colon:
        return ParsedRegion(region, None)
    if region == "embeddings":
        raise UserError(f"region {name!r}: the embeddings lie in no layer; leave the layers out")
    return ParsedRegion(region, _merged(_range(part, name) for part in layers.split(",")))


def region_name(region: str, layers: str | None = None) -> str:
    """The name of a region in its normal form: equal sets of layers have equal names.

    Args:
        region: the name of a region, such as ``blocks`` or ``blocks:0-3``.
        layers: the layers that count, such as ``0-3,28-31``; None leaves the region as it is.

    Raises:
        UserError: as :func:`parse_region`, and when ``region`` names layers and ``layers`` too.
    """
    parsed = parse_region(region)
    if layers is None:
        return str(parsed)
    if parsed.layers is not None:
        raise UserError(
            f"region {region!r} and layers {layers!r}: both name layers; give them once"
        )
    return str(parse_region(f"{region}:{layers}"))


def _range(text: str, name: str) -> LayerRange:
    matched = _LAYERS.fullmatch(text.strip())
    if matched is None:
        raise UserError(
            f"region {name!r}: {text!r} names no layers; write numbers and ranges, as in 0-3,28-31"
        )
    first = int(matched[1])
    last = first if matched[2] is None else int(matched[2])
    if first > last:
        raise UserError(f"region {name!r}: {text!r} runs backwards; write {last}-{first}")
    return LayerRange(first, last)


def _merged(ranges: Iterable[LayerRange]) -> tuple[LayerRange, ...]:
    merged: list[LayerRange] = []
    for layers in sorted(ranges):
        if merged and layers.first <= merged[-1].last + 1:
            merged[-1] = LayerRange(merged[-1].first, max(merged[-1].last, layers.last))
        else:
            merged.append(layers)
    return tuple(merged)
