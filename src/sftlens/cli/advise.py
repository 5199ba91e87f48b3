"""sftlens advise: which facts to fine-tune on, how many, and what to expect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sftlens.advice import AdviseSettings
from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.facts import Matching
from sftlens.scoring import ScoreSettings
from sftlens.tuning import TuneSettings

S = AdviseSettings
T = TuneSettings
C = ScoreSettings


@app.command()
def advise(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    facts: Annotated[
        str, typer.Argument(metavar="FACTS", help="Facts file, world folder or NAME:PATH.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the advice.")],
    mastery: Annotated[
        Path | None,
        typer.Option(help="Folder that `sftlens probe` wrote; without it the facts are probed."),
    ] = None,
    pilot: Annotated[bool, setting(S, "pilot", "--pilot")] = default(S, "pilot"),
    budget: Annotated[int, setting(S, "budget")] = default(S, "budget"),
    size: Annotated[
        list[int] | None,
        typer.Option(help="Training facts that the pilot tries; repeat for several."),
    ] = None,
    learning_rate: Annotated[float, setting(T, "learning_rate")] = default(T, "learning_rate"),
    batch_size: Annotated[int, setting(T, "batch_size")] = default(T, "batch_size"),
    num_epochs: Annotated[int, setting(T, "num_epochs")] = default(T, "num_epochs"),
    gradient_checkpointing: Annotated[
        bool, setting(T, "gradient_checkpointing", "--gradient-checkpointing")
    ] = default(T, "gradient_checkpointing"),
    max_new_tokens: Annotated[int, setting(C, "max_new_tokens")] = default(C, "max_new_tokens"),
    matching: Annotated[Matching, setting(C, "matching")] = default(C, "matching"),
    seed: Annotated[int, setting(S, "seed")] = default(S, "seed"),
    as_json: Json = False,
) -> None:
    """Tell which facts to fine-tune on, which to drop, how many, and what to expect."""
    from sftlens.advice import run_advise

    settings = checked(
        S,
        pilot=pilot,
        budget=budget,
        sizes=tuple(size) if size else default(S, "sizes"),
        tune=checked(
            T,
            learning_rate=learning_rate,
            batch_size=batch_size,
            num_epochs=num_epochs,
            gradient_checkpointing=gradient_checkpointing,
        ),
        score=checked(C, max_new_tokens=max_new_tokens, matching=matching),
        seed=seed,
    )
    result = run_advise(base, facts, out, mastery=mastery, settings=settings)

    def show() -> None:
        title = f"{result.num_facts['training']} facts to train on"
        dropped = {one["level"]: one["advice"] for one in result.advice["drop"]}
        rows = [
            (
                one["level"],
                one["num_facts"],
                percent(one["uncertain"]),
                dropped.get(one["level"], "train on" if one["num_facts"] else None),
            )
            for one in result.levels
        ]
        print_table(title, ["level", "facts", "uncertain", "advice"], rows)
        measured = [row for row in result.candidates if row["knowledge"] is not None]
        if measured:
            title = f"on {result.num_facts['validation']} validation facts"
            columns = ["candidate", "runs", "accuracy", "95 % interval", "in", "out", ""]
            print_table(title, columns, [_row(row) for row in measured])
            print_line(f"{result.num_runs} of {result.budget} training runs used")
        for note in result.notes:
            print_line(note)
        for one in result.advice["statements"]:
            print_line(f"{one['advice']} {one['evidence']}")
        if result.advice["command"] is not None:
            print_line(result.advice["command"])
        print_line(f"written to {out}; advice.md has it all")

    emit(result.as_json(), as_json, show)


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    return (
        row["candidate"],
        row["num_seeds"],
        percent(row["knowledge"]),
        f"{percent(row['knowledge_low'])} to {percent(row['knowledge_high'])}",
        percent(row["knowledge_in"]),
        percent(row["knowledge_out"]),
        "chosen" if row["chosen"] else "the paper's" if row["recipe"] else "",
    )
