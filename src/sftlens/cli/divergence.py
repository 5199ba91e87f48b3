"""sftlens divergence: KL of the tuned model from the base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import print_line, print_table


@app.command()
def divergence(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    tuned: Annotated[
        str,
        typer.Argument(metavar="TUNED", help="Tuned model: folder or hub id; or a LoRA adapter."),
    ],
    facts: Annotated[
        str, typer.Argument(metavar="FACTS", help="Facts file, world folder or NAME:PATH.")
    ],
    mastery: Annotated[Path, typer.Option(help="Folder that `sftlens probe` wrote.")],
    out: Annotated[Path, typer.Option(help="The divergence folder.")],
    as_json: Json = False,
) -> None:
    """Measure the shift of token distributions on well-known facts."""
    from sftlens.divergence import run_divergence

    result = run_divergence(base, tuned, facts, mastery, out)

    def show() -> None:
        interval = None
        if result.low is not None and result.high is not None:
            interval = f"{result.low:.3f} to {result.high:.3f}"
        print_table(
            f"KL(tuned ‖ base) in nats, on {result.num_facts} facts",
            ["over", "mean", "95 % interval"],
            [
                ["top ten tokens", f"{result.kl:.3f}", interval],
                ["whole vocabulary", f"{result.kl_full:.3f}", None],
            ],
        )
        print_line(f"written to {out}")

    emit(result.as_json(), as_json, show)
