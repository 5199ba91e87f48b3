"""The options that say which parameters count."""

from __future__ import annotations

from typing import Annotated

import typer

RegionOption = Annotated[
    str, typer.Option("--region", help="Which parameters: blocks, attention, mlp, embeddings, all.")
]
LayersOption = Annotated[
    str | None, typer.Option("--layers", help="Only these layers of the region, such as 0-3,28-31.")
]
