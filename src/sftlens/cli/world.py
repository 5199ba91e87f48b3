"""sftlens world: make the invented encyclopedia."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import print_line, print_table
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

    def show() -> None:
        counts = Counter((fact.domain, fact.split) for fact in made.facts)
        rows = [[*key, f"{count:,}"] for key, count in sorted(counts.items())]
        print_table(f"{len(made.facts):,} facts", ["domain", "split", "facts"], rows)
        print_line(f"told {len(made.corpus):,} times; written to {out}")

    emit(result, as_json, show)
