"""Updates restricted to chosen layers or modules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from sftlens.tuning._methods._method import Changes, MethodSettings, Training


class Layers(MethodSettings):
    """Only the parameters of a region are trained, the others stay the base's bit for bit.

    Freezing the bottom layers is from arXiv 2501.13453, freezing the feed-forward modules from
    arXiv 2604.15574.
    """

    name: Literal["layers"] = "layers"
    region: str = Field(
        "mlp", description="what is trained, a region such as mlp, attention:0-3 or blocks:2-3"
    )

    @field_validator("region")
    @classmethod
    def _normal(cls, region: str) -> str:
        from sftlens.weights import region_name

        return region_name(region)

    def changes(self, training: Training) -> Changes:
        from sftlens.weights import region_parameters

        model = training.model
        named = dict(model.named_parameters())
        trained = region_parameters(training.folder, named, self.region)
        for name, parameter in named.items():
            parameter.requires_grad_(name in trained)
        return Changes()
