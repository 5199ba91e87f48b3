"""sftlens score: closed-book accuracy per level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.facts import Matching, Split
from sftlens.scoring import NUM_LEVELS, ScoreSettings, run_score, run_transitions

S = ScoreSettings


@app.command()
def score(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model: folder or hub id.")],
    facts: Annotated[
        str, typer.Argument(metavar="FACTS", help="Facts file, world folder or NAME:PATH.")
    ],
    mastery: Annotated[Path, typer.Option(help="Folder that `sftlens probe` wrote.")],
    out: Annotated[Path, typer.Option(help="The score folder.")],
    split: Annotated[Split, typer.Option(help="Facts of which split are asked.")] = "test",
    reference: Annotated[
        Path | None,
        typer.Option(help="Score folder of another model: tell the facts lost and gained."),
    ] = None,
    max_new_tokens: Annotated[int, setting(S, "max_new_tokens")] = default(S, "max_new_tokens"),
    matching: Annotated[Matching, setting(S, "matching")] = default(S, "matching"),
    as_json: Json = False,
) -> None:
    """Score closed-book question answering per level, in and out of domain."""
    settings = checked(S, max_new_tokens=max_new_tokens, matching=matching)
    result = run_score(
        model, facts, mastery, out, split=split, settings=settings, reference=reference
    )
    moves = None if reference is None else run_transitions(reference, out)

    def show() -> None:
        columns = ["domain", *(f"level {k}" for k in range(NUM_LEVELS)), "mean", "95 % interval"]
        print_table(f"accuracy on {result.num_facts} facts", columns, _rows(result.accuracy))
        if result.num_echoed:
            print_table(
                f"without the {result.num_echoed} whose answer stands in their own question",
                columns,
                _rows(result.accuracy_without_echoed or {}),
            )
        if result.num_without_level:
            print_line(f"{result.num_without_level} facts have no level: probe them to count them")
        if moves is not None:
            print_table("against the reference", ["facts", "number"], moves.items())
        print_line(f"written to {out}")

    payload = result.as_json()
    emit(payload if moves is None else {**payload, "transitions": moves}, as_json, show)


def _rows(accuracy: Mapping[str, dict[str, Any] | None]) -> list[tuple[str, ...]]:
    return [
        (
            domain,
            *map(percent, found["levels"]),
            percent(found["mean"]),
            f"{percent(found['low'])} to {percent(found['high'])}",
        )
        for domain, found in accuracy.items()
        if found is not None
    ]
