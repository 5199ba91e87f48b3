"""The model card of a restored model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sftlens import __version__
from sftlens.card import metadata
from sftlens.norms import is_same_norm
from sftlens.weights._plan import Request
from sftlens.weights._restored_output import RestoredOutput
from sftlens.weights._shares import share_label


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a model card tells of how the model was made.

    Attributes:
        base: name of the model that values come back from, as the tuned one's below.
        tuned: name of the model that was restored.
        base_hash: of the base's weights.
        tuned_hash: of the tuned model's.
        licence: of the base, as :func:`sftlens.card.stated_licence` gives it.
        request: what was asked for.
        notes: what was passed over, and why.
    """

    base: str
    tuned: str
    base_hash: str
    tuned_hash: str
    licence: Mapping[str, Any]
    request: Request
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

_TENSOR_RULES = {
    "ties": "those that fine-tuning changed least, as in the trim of TIES (arXiv 2306.01708)",
    "breadcrumbs": "in each tensor the 1 % that changed most and the rest from those that changed "
    "least, as Model Breadcrumbs (arXiv 2312.06795) chooses",
    "fapm": "in each matrix those of lowest score by FAPM (arXiv 2509.08255)",
    "half-reset": "whole matrices, as many in each decoder block, drawn at random as in half "
    "reset (HFT, arXiv 2404.18466)",
}


def model_card(recipe: Recipe, output: RestoredOutput) -> str:
    """The README of one restored model: what the hub reads, what was done, how to repeat it."""
    lines = [
        "# A fine-tuned model, in part restored to its base",
        "",
        f"- base: {recipe.base} (weights {recipe.base_hash[:16]})",
        f"- tuned: {recipe.tuned} (weights {recipe.tuned_hash[:16]})",
        f"- made by sftlens {__version__}; `manifest.json` tells everything it depends on",
        "",
        _deed(recipe, output),
        _norm(output),
        "",
    ]
    lines += [f"- {note}" for note in recipe.notes]
    lines += [""] if recipe.notes else []
    head = metadata((recipe.tuned, recipe.base), recipe.licence)
    return head + "\n".join([*lines, "To repeat:", "", *_repetition(recipe, output.share), ""])


def _repetition(recipe: Recipe, share: float | None) -> list[str]:
    command = ["sftlens", "restore", recipe.base, recipe.tuned]
    if share is not None:
        command += ["--share", share_label(share)]
    for flag, usual in Request._field_defaults.items():
        value = getattr(recipe.request, flag)
        if flag != "shares" and value != usual:
            command += [f"--{flag}", str(value)]
    return ["```", shlex.join([*command, "--out", "OUT"]), "```"]


def _deed(recipe: Recipe, output: RestoredOutput) -> str:
    request = recipe.request
    share = "" if output.share is None else share_label(output.share)
    if request.method in _RULES:
        rules = _RULES if request.order == "top" else _BOTTOM_RULES
        return _restored(recipe, output, f"{share} %", rules[request.method])
    match request.method:
        case "interpolation":
            end = "largest" if request.order == "top" else "smallest"
            return (
                f"Every parameter of region `{request.region}` was moved towards the base: "
                f"base + {output.alpha:.6g} (tuned - base), the alpha that comes nearest to the "
                f"norm that restoring the {share} % of {end} relative change removes."
            )
        case "wise-ft":
            return (
                f"Every parameter of region `{request.region}` was moved {share} % of the way back "
                f"to the base: base + {output.alpha:.6g} (tuned - base), as WiSE-FT "
                "(arXiv 2109.01903) does."
            )
        case "lines":
            return (
                f"The update of region `{request.region}` was scaled down by {share} % in the "
                "first decoder block, by less in each later one and not at all in the last, as "
                "LiNeS (arXiv 2410.17146) does."
            )
        case "dare":
            return (
                f"The update of {share} % of the parameters of region `{request.region}`, chosen "
                "at random, was dropped, and that of the others divided by what is left, as DARE "
                "(arXiv 2311.03099) does."
            )
        case "dg-hard":
            return (
                f"In each matrix of region `{request.region}` the directions of the update that "
                "noise alone explains were removed, as DG-Hard (arXiv 2605.20296) does."
            )
        case _:
            return _restored(recipe, output, f"{share} %", _TENSOR_RULES[request.method])


def _restored(recipe: Recipe, output: RestoredOutput, share: str, rule: str) -> str:
    return (
        f"{share} of the parameters of region `{recipe.request.region}` "
        f"({output.num_restored:,} of {output.num_parameters:,}) have their base value again: "
        f"{rule}. Fine-tuning had changed {output.num_restored_changed:,} of them."
    )


def _norm(output: RestoredOutput) -> str:
    removed, stored = output.norm_removed, f"measured on the weights as stored in {output.dtype}"
    if removed < 0:
        return f"The squared norm of the update grew by {-100 * removed:.2f} %, {stored}."
    told = f"{100 * removed:.2f} % of the squared norm of the update was removed, {stored}"
    if output.norm_to_match is not None and not is_same_norm(removed, output.norm_to_match):
        told += (
            f"; {100 * output.norm_to_match:.2f} % was to be matched, which this type cannot store"
        )
    return f"{told}."
