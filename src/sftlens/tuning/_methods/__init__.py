"""Training methods: what is changed in plain fine-tuning so that less is forgotten."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field

from sftlens.errors import UserError
from sftlens.tuning._lora import LORA, LoraSettings
from sftlens.tuning._methods._early_stop import EarlyStop
from sftlens.tuning._methods._kl import KL
from sftlens.tuning._methods._l2_sp import L2SP
from sftlens.tuning._methods._layers import Layers
from sftlens.tuning._methods._method import Changes, MethodSettings, Training, Validation
from sftlens.tuning._methods._plain import Plain
from sftlens.tuning._methods._restore import Restore
from sftlens.tuning._methods._sdft import SDFT
from sftlens.tuning._methods._sparse import Sparse

AnyMethod = Plain | L2SP | KL | SDFT | Layers | Sparse | Restore | EarlyStop
Method = Annotated[AnyMethod, Field(discriminator="name")]

METHODS: dict[str, type[MethodSettings]] = {
    kind.model_fields["name"].default: kind for kind in get_args(AnyMethod)
}
"""The settings of each method, by its name."""


def method_settings(name: str, **given: Any) -> dict[str, Any]:
    """The settings of a method, or of LoRA, that were given; what is None was not.

    Raises:
        UserError: when there is no such method, or it has no such setting.
    """
    kinds: dict[str, type[BaseModel]] = {**METHODS, LORA: LoraSettings}
    if name not in kinds:
        raise UserError(f"method {name!r}: there is none; choose from {', '.join(kinds)}")
    settings = {field: value for field, value in given.items() if value is not None}
    for field in settings:
        if field not in kinds[name].model_fields:
            raise UserError(
                f"{field} {settings[field]} has no effect on method {name!r}; leave it out"
            )
    return settings


__all__ = [
    "METHODS",
    "Changes",
    "Method",
    "MethodSettings",
    "Plain",
    "Training",
    "Validation",
    "method_settings",
]
