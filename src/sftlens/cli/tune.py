"""sftlens tune: fine-tune on facts of one level."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import print_line, print_table
from sftlens.tuning import LORA, METHODS, LoraSettings, TuneSettings, method_settings, run_tune

S = TuneSettings


@app.command()
def tune(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    facts: Annotated[
        str, typer.Argument(metavar="FACTS", help="Facts file, world folder or NAME:PATH.")
    ],
    mastery: Annotated[Path, typer.Option(help="Folder that `sftlens probe` wrote.")],
    out: Annotated[Path, typer.Option(help="The model folder.")],
    level: Annotated[
        int | None,
        typer.Option(min=0, max=4, help="Mastery level to train on; without it facts of all."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Training facts; without it all of the level.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help=f"{S.model_fields['learning_rate'].description}; lora has 10 times that.",
            show_default=f"{default(S, 'learning_rate'):g}",
        ),
    ] = None,
    batch_size: Annotated[int, setting(S, "batch_size")] = default(S, "batch_size"),
    num_epochs: Annotated[int, setting(S, "num_epochs")] = default(S, "num_epochs"),
    gradient_checkpointing: Annotated[
        bool, setting(S, "gradient_checkpointing", "--gradient-checkpointing")
    ] = default(S, "gradient_checkpointing"),
    method: Annotated[
        str, typer.Option(help=f"How less is forgotten: {', '.join((*METHODS, LORA))}.")
    ] = "sft",
    strength: Annotated[
        float | None, typer.Option(help="Of the method; each has its own scale and default.")
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="What `layers` trains, such as attention, mlp:0-3 or blocks:2-3."),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of the update that `lora` trains.",
            show_default=str(default(LoraSettings, "rank")),
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn facts and their order.")] = default(
        S, "seed"
    ),
    as_json: Json = False,
) -> None:
    """Fine-tune on chosen facts by level and size."""
    asked = method_settings(method, strength=strength, region=region, rank=rank)
    lora = None
    if method == LORA:
        lora = checked(LoraSettings, learning_rate=learning_rate, **asked)
    settings = checked(
        S,
        learning_rate=default(S, "learning_rate") if learning_rate is None else learning_rate,
        batch_size=batch_size,
        num_epochs=num_epochs,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        method="sft" if lora else {"name": method, **asked},
    )
    result = run_tune(
        base, facts, mastery, out, level=level, size=size, settings=settings, lora=lora
    )
    if result is None:  # another process tells it
        return

    levels = "all levels" if level is None else f"level {level}"

    def show() -> None:
        print_table(
            f"fine-tuned on facts of {levels}",
            ["facts", "steps", "final loss", "kept beside the model"],
            [
                [
                    f"{result.num_facts:,}",
                    f"{result.num_steps:,}",
                    f"{result.final_loss:.2f}",
                    f"{result.kept_bytes / 1e9:.2g} GB" if result.kept_bytes else None,
                ]
            ],
        )
        print_line(f"written to {out}")

    emit(result.as_json(), as_json, show)
