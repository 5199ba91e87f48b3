"""sftlens pretrain: train a scale model on a world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import print_line
from sftlens.generation import question_prompt
from sftlens.world import Preset, PretrainSettings
from sftlens.world import pretrain as run

S = PretrainSettings


@app.command()
def pretrain(
    world: Annotated[Path, typer.Argument(metavar="WORLD", help="World folder.")],
    out: Annotated[Path, typer.Option(help="The model folder.")],
    preset: Annotated[Preset, setting(S, "preset")] = default(S, "preset"),
    num_epochs: Annotated[int, setting(S, "num_epochs")] = default(S, "num_epochs"),
    batch_size: Annotated[int, setting(S, "batch_size")] = default(S, "batch_size"),
    learning_rate: Annotated[float, setting(S, "learning_rate")] = default(S, "learning_rate"),
    seed: Annotated[int, setting(S, "seed")] = default(S, "seed"),
    as_json: Json = False,
) -> None:
    """Train a scale model on a world; an ordinary Hugging Face checkpoint."""
    settings = checked(
        S,
        preset=preset,
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    done = run(world, out, settings, markers=[question_prompt("")])
    result = {**done._asdict(), "out": str(out)}
    text = f"{done.num_parameters:,} parameters, loss {done.final_loss:.2f}: {out}"
    emit(result, as_json, lambda: print_line(text))
