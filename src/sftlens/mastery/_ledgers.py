"""The ledgers of a probe: one a way of decoding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.generation import Decoding
from sftlens.mastery._ledger import Ledger
from sftlens.mastery._probe import ProbeSettings


class Ledgers(NamedTuple):
    """Contexts to enter before they take completions."""

    sampled: Ledger
    greedy: Ledger


def open_ledgers(folder: Path, model: Mapping[str, Any], settings: ProbeSettings) -> Ledgers:
    """The ledgers of a model's completions.

    Args:
        folder: where ledgers lie.
        model: the model's identity; what its folder is called does not count where its weights are
            known.
        settings: of the probe; of these the decoding counts, without the number of samples.

    Raises:
        UserError: as :class:`Ledger`.
    """
    key = dict(model)
    if "weights" in key:
        key = {part: key[part] for part in ("weights", "files")}

    def ledger(decoding: Decoding) -> Ledger:
        told = decoding.model_dump(mode="json", exclude={"num_samples"})
        return Ledger(folder, {"model": key, "decoding": told})

    return Ledgers(ledger(settings.decoding), ledger(settings.greedy))
