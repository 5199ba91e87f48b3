"""sftlens pretrain: train a scale model on facts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import print_line, print_table
from sftlens.facts import topics_with
from sftlens.generation import question_prompt
from sftlens.world import Preset, PretrainSettings, TellingSettings
from sftlens.world import pretrain as run

S = PretrainSettings
T = TellingSettings


@app.command()
def pretrain(
    source: Annotated[
        str, typer.Argument(metavar="FACTS", help="World folder; or facts, which are told first.")
    ],
    out: Annotated[Path, typer.Option(help="The model folder.")],
    topics: Annotated[
        Path | None, typer.Option(help="YAML file of own topics and templates.")
    ] = None,
    exposure: Annotated[
        list[int] | None,
        typer.Option(
            help="Times to state a fact; give it once for each number to draw from.",
            show_default=" ".join(map(str, default(T, "exposures"))),
        ),
    ] = None,
    exposure_skew: Annotated[
        float | None,
        typer.Option(
            help=T.model_fields["exposure_skew"].description,
            show_default=f"{default(T, 'exposure_skew'):g}",
        ),
    ] = None,
    preset: Annotated[Preset, setting(S, "preset")] = default(S, "preset"),
    num_epochs: Annotated[int, setting(S, "num_epochs")] = default(S, "num_epochs"),
    batch_size: Annotated[int, setting(S, "batch_size")] = default(S, "batch_size"),
    learning_rate: Annotated[float, setting(S, "learning_rate")] = default(S, "learning_rate"),
    seed: Annotated[int, setting(S, "seed")] = default(S, "seed"),
    as_json: Json = False,
) -> None:
    """Train a scale model on facts; an ordinary Hugging Face checkpoint."""
    settings = checked(
        S,
        preset=preset,
        num_epochs=num_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    asked = {"exposures": exposure or None, "exposure_skew": exposure_skew}
    given = {name: value for name, value in asked.items() if value is not None}
    telling = checked(T, seed=seed, **given) if given else None
    done = run(
        source,
        out,
        settings,
        telling=telling,
        topics=topics_with(topics) if topics else None,
        markers=[question_prompt("")],
    )
    result = {**done.as_json(), "out": str(out)}

    def show() -> None:
        row = [f"{done.num_parameters:,}", f"{done.num_steps:,}", f"{done.final_loss:.2f}"]
        print_table("pre-trained", ["parameters", "steps", "final loss"], [row])
        print_line(f"written to {out}")

    emit(result, as_json, show)
