"""The model card of a restored model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sftlens import __version__
from sftlens.weights._shares import share_label

if TYPE_CHECKING:
    from sftlens.weights._restore import RestoredOutput


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a model card tells of how the model was made."""

    base: str
    tuned: str
    base_hash: str
    tuned_hash: str
    method: str
    order: str
    region: str
    seed: int
    notes: Sequence[str]


_RULES = {
    "relative": "those that fine-tuning changed most, relative to their size",
    "absolute": "those that fine-tuning changed most",
    "random": "chosen at random",
    "small-base": "those whose base value is smallest",
}
_BOTTOM_RULES = {
    "relative": "those that fine-tuning changed least, relative to their size",
    "absolute": "those that fine-tuning changed least",
    "random": "chosen at random",
    "small-base": "those whose base value is largest",
}


def model_card(recipe: Recipe, output: RestoredOutput) -> str:
    """The README of one restored model: base, tuned, what was done, how to repeat it."""
    lines = [
        "# A fine-tuned model, in part restored to its base",
        "",
        f"- base: {recipe.base} (weights {recipe.base_hash[:16]})",
        f"- tuned: {recipe.tuned} (weights {recipe.tuned_hash[:16]})",
        f"- made by sftlens {__version__}; `manifest.json` tells everything it depends on",
        "",
        _deed(recipe, output),
        f"{100 * output.norm_removed:.2f} % of the squared norm of the update was removed.",
        "",
    ]
    lines += [f"- {note}" for note in recipe.notes]
    lines += [""] if recipe.notes else []
    return "\n".join([*lines, "To repeat:", "", *_repetition(recipe, output.share), ""])


def _repetition(recipe: Recipe, share: float) -> list[str]:
    command = ["sftlens", "restore", recipe.base, recipe.tuned, "--share", share_label(share)]
    defaults = {"method": "relative", "order": "top", "region": "blocks", "seed": 0}
    for flag, default in defaults.items():
        if (value := getattr(recipe, flag)) != default:
            command += [f"--{flag}", str(value)]
    return ["```", shlex.join([*command, "--out", "OUT"]), "```"]


def _deed(recipe: Recipe, output: RestoredOutput) -> str:
    if output.num_restored is None:
        return (
            f"Every parameter of region `{recipe.region}` was moved towards the base: "
            f"base + {output.alpha:.6g} (tuned - base), which removes as much of the update as "
            f"restoring the {recipe.order} {share_label(output.share)} % by relative change."
        )
    rules = _RULES if recipe.order == "top" else _BOTTOM_RULES
    return (
        f"{share_label(output.share)} % of the parameters of region `{recipe.region}` "
        f"({output.num_restored:,} of {output.num_parameters:,}) have their base value again: "
        f"{rules[recipe.method]}. Fine-tuning had changed {output.num_restored_changed:,} of them."
    )
