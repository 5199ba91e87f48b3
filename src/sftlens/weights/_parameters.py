"""Which parameters of a loaded model lie in a region."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sftlens.errors import UserError
from sftlens.weights._architecture import Architecture
from sftlens.weights._regions import parse_region


def region_parameters(folder: Path, names: Iterable[str], region: str) -> frozenset[str]:
    """The names of a loaded model's parameters that lie in a region.

    Args:
        folder: the model's folder; only its configuration is read.
        names: as ``model.named_parameters()`` gives them.
        region: such as ``blocks`` or ``attention:0-3``.

    Raises:
        UserError: when there is no such region, or no parameter lies in it.
    """
    parsed = parse_region(region)
    roles = Architecture(folder).roles(names)
    num_layers = 1 + max((r.layer for r in roles.values() if r.layer is not None), default=-1)
    parsed.require_layers(num_layers)
    found = frozenset(name for name, role in roles.items() if parsed.holds(role))
    if not found:
        raise UserError(f"region {region!r}: the model has no parameter in it; choose another")
    return found
