"""sftlens facts: read, clean, count."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import print_line, print_table
from sftlens.facts import facts_table, load_aliases, read_facts, with_aliases
from sftlens.outputs import new_file, require_free


@app.command()
def facts(
    source: Annotated[str, typer.Argument(metavar="FACTS", help="Facts file or world folder.")],
    aliases: Annotated[
        Path | None, typer.Option(help="YAML list of lists of names that mean the same.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the facts as a .parquet file.")] = None,
    as_json: Json = False,
) -> None:
    """Read facts, clean them, and count them."""
    found, dropped = read_facts(source)
    if aliases is not None:
        found = with_aliases(found, load_aliases(aliases))
    if out is not None:
        require_free(out)
        with new_file(out) as path:
            facts_table(found).write_parquet(path)
    counts = Counter((fact.domain, fact.split, fact.topic) for fact in found)
    result = {
        "num_facts": len(found),
        "counts": [
            {"domain": domain, "split": split, "topic": topic, "num_facts": number}
            for (domain, split, topic), number in sorted(counts.items())
        ],
        "dropped": dropped,
    }

    def show() -> None:
        rows = [(*key, number) for key, number in sorted(counts.items())]
        print_table(f"{len(found)} facts", ["domain", "split", "topic", "facts"], rows)
        for reason, number in dropped.items():
            print_line(f"dropped {number}: {reason}")

    emit(result, as_json, show)
