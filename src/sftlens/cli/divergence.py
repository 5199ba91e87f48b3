"""sftlens divergence: KL of the tuned model from the base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import print_line


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
    text = (
        f"KL(tuned ‖ base) {result.kl:.3f} nats (95 % interval {result.low:.3f} to "
        f"{result.high:.3f}) over the top ten tokens, {result.kl_full:.3f} nats over the whole "
        f"vocabulary, on {result.num_facts} facts: {out}"
    )
    emit(result._asdict(), as_json, lambda: print_line(text))
