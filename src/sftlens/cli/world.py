"""sftlens world: make the invented encyclopedia."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import print_line
from sftlens.world import WorldSettings, write_world

S = WorldSettings


@app.command()
def world(
    out: Annotated[Path, typer.Option(help="The world folder.")],
    num_facts_in: Annotated[int, setting(S, "num_facts_in")] = default(S, "num_facts_in"),
    num_facts_out: Annotated[int, setting(S, "num_facts_out")] = default(S, "num_facts_out"),
    seed: Annotated[int, setting(S, "seed")] = default(S, "seed"),
    as_json: Json = False,
) -> None:
    """Make the invented encyclopedia: facts, corpus, true exposures."""
    settings = checked(S, num_facts_in=num_facts_in, num_facts_out=num_facts_out, seed=seed)
    made = write_world(out, settings)
    result = {"num_facts": len(made.facts), "num_texts": len(made.corpus), "out": str(out)}
    text = f"{len(made.facts)} facts, told {len(made.corpus)} times: {out}"
    emit(result, as_json, lambda: print_line(text))
