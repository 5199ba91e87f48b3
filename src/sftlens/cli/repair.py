"""sftlens repair: search a restoration that gives knowledge back and keeps the task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.facts import Matching
from sftlens.repair import METHODS, RepairSettings
from sftlens.storage_types import StorageType

S = RepairSettings


@app.command()
def repair(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    tuned: Annotated[
        str, typer.Argument(metavar="TUNED", help="Tuned model or LoRA adapter: folder or hub id.")
    ],
    facts: Annotated[
        str, typer.Argument(metavar="FACTS", help="Facts file, world folder or NAME:PATH.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the model and its report.")],
    mastery: Annotated[
        Path | None, typer.Option(help="Folder that `sftlens probe` wrote: count by level.")
    ] = None,
    keep: Annotated[str | None, setting(S, "keep")] = default(S, "keep"),
    budget: Annotated[int, setting(S, "budget")] = default(S, "budget"),
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this method; repeat for several. Without it all of them."),
    ] = None,
    max_task_loss: Annotated[float, setting(S, "max_task_loss")] = default(S, "max_task_loss"),
    max_new_tokens: Annotated[int, setting(S, "max_new_tokens")] = default(S, "max_new_tokens"),
    matching: Annotated[Matching, setting(S, "matching")] = default(S, "matching"),
    dtype: Annotated[StorageType, setting(S, "dtype")] = default(S, "dtype"),
    seed: Annotated[int, setting(S, "seed")] = default(S, "seed"),
    as_json: Json = False,
) -> None:
    """Give knowledge back where that is surely better, and keep what tuning was for."""
    from sftlens.repair import run_repair

    settings = checked(
        S,
        keep=keep,
        budget=budget,
        methods=tuple(method) if method else METHODS,
        max_task_loss=max_task_loss,
        max_new_tokens=max_new_tokens,
        matching=matching,
        dtype=dtype,
        seed=seed,
    )
    result = run_repair(base, tuned, facts, out, mastery=mastery, settings=settings)

    def show() -> None:
        columns = ["model", "candidate", "norm removed", "knowledge", "95 % interval", "task"]
        title = f"on {result.num_facts['test']} test facts"
        print_table(title, columns, [_row(row) for row in result.front])
        if result.without_echoed:
            num_others = result.without_echoed[0]["num_facts"]
            print_table(
                f"on the {num_others} of them whose answer does not stand in their own question",
                ["model", "candidate", "knowledge", "95 % interval"],
                [_other(row) for row in result.without_echoed],
            )
        for note in result.notes:
            print_line(note)
        print_line(result.chosen["why"])
        print_line(
            f"{result.evaluations:.1f} of {result.budget} evaluations used; written to {out}"
        )

    emit(result.as_json(), as_json, show)


def _other(row: dict[str, Any]) -> tuple[object, ...]:
    interval = f"{percent(row['knowledge_low'])} to {percent(row['knowledge_high'])}"
    return row["role"], row["candidate"], percent(row["knowledge"]), interval


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    return (
        row["role"],
        row["candidate"],
        percent(row["norm_removed"]),
        percent(row["knowledge"]),
        f"{percent(row['knowledge_low'])} to {percent(row['knowledge_high'])}",
        percent(row["task"]),
    )
