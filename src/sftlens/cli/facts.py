"""sftlens facts: read, clean, count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.errors import UserError
from sftlens.facts import (
    SPLITS,
    AliasGroups,
    Domain,
    Echoed,
    Fact,
    Split,
    facts_table,
    is_echoed,
    load_aliases,
    read_facts,
    select_facts,
    source_aliases,
    topics_with,
    with_aliases,
)
from sftlens.locks import locked
from sftlens.outputs import new_file, require_free

_NO_ALIASES = "none"
_COUNTED = ("domain", "split", "topic")


@app.command()
def facts(
    source: Annotated[
        str, typer.Argument(metavar="FACTS", help="Facts file, world folder or NAME:PATH.")
    ],
    topics: Annotated[
        Path | None,
        typer.Option(help="YAML file of own topics, laid over the known ones."),
    ] = None,
    aliases: Annotated[
        str | None,
        typer.Option(
            metavar="none|FILE",
            help="YAML list of lists of names that mean the same, beside those that belong to "
            "the source; none leaves the latter away.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=COLUMN",
            help="Where a field of a fact stands, nested by dots: answers=a.b. Repeatable.",
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="|".join(SPLITS), help="Keep facts of this split. Repeatable."),
    ] = None,
    domain: Annotated[Domain | None, typer.Option(help="Keep facts of this domain.")] = None,
    topic: Annotated[
        list[str] | None, typer.Option(help="Keep facts of this topic. Repeatable.")
    ] = None,
    echoed: Annotated[
        Echoed, typer.Option(help="Facts whose answer stands in their own question.")
    ] = "keep",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Keep at most so many facts of each topic.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw of --limit.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the facts as a .parquet file, which every command reads."),
    ] = None,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            metavar="lm-eval DIR",
            help="Write the facts as tasks of lm-evaluation-harness, for its --include_path.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read facts, clean them, and count them."""
    if out is not None:
        _require_parquet(out)
    folder = None if export is None else _export_folder(*export)
    known = topics_with(topics)
    groups = _alias_groups(aliases, source)
    read, dropped = read_facts(source, topics=known, aliases=None, columns=_columns(column or ()))
    wanted = select_facts(
        with_aliases(read, groups),
        splits=[_split(name) for name in split or ()],
        domains=() if domain is None else (domain,),
        topics=topic or (),
    )
    found = select_facts(wanted, echoed=echoed, limit=limit, seed=seed)
    num_left_out = len(read) - len(found)
    if echoed == "drop" and (num_echoed := sum(map(is_echoed, wanted))):
        dropped["answer in its own question"] = num_echoed
        num_left_out -= num_echoed
    if out is not None:
        with locked(out), new_file(out) as path:
            facts_table(found).write_parquet(path)
    tasks = [] if folder is None else _export(found, folder)
    counts = Counter(map(_counted, found))
    echoes = Counter(_counted(fact) for fact in found if is_echoed(fact))
    plain = {fact.fact_id: fact for fact in read}
    num_aliased = sum(fact != plain[fact.fact_id] for fact in found)
    without_templates = sorted({fact.topic for fact in found if fact.topic not in known})
    result = {
        "num_facts": len(found),
        "counts": [
            {
                **dict(zip(_COUNTED, key, strict=True)),
                "num_facts": number,
                "num_echoed": echoes[key],
            }
            for key, number in sorted(counts.items())
        ],
        "dropped": dropped,
        "num_echoed": echoes.total(),
        "num_left_out": num_left_out,
        "num_with_aliases": num_aliased,
        "topics_without_templates": without_templates,
        "out": None if out is None else str(out),
        "export": None if folder is None else str(folder),
    }

    def show() -> None:
        rows = [(*key, number, echoes[key]) for key, number in sorted(counts.items())]
        print_table(f"{len(found)} facts", [*_COUNTED, "facts", "echoed"], rows)
        if echoes:
            print_line(
                f"echoed: {echoes.total()} facts ({percent(echoes.total() / len(found))}) have an "
                "answer in their own question, so that repeating it is right; --echoed drop "
                "leaves them out"
            )
        for reason, number in dropped.items():
            print_line(f"dropped {number}: {reason}")
        if num_left_out:
            print_line(f"left out {num_left_out}: not chosen by the options")
        if groups:
            print_line(f"aliases added to {num_aliased} facts")
        if without_templates:
            names = ", ".join(without_templates)
            print_line(f"no mapping templates, so not to be probed: {names}; see --topics")
        if out is not None:
            print_line(f"written to {out}")
        if folder is not None:
            print_line(f"tasks {', '.join(tasks)} and the group of them written to {folder}")

    emit(result, as_json, show)


def _counted(fact: Fact) -> tuple[str, ...]:
    return fact.domain, fact.split, fact.topic


def _require_parquet(out: Path) -> None:
    if out.suffix != ".parquet":
        raise UserError(f"{out}: is no .parquet file; give --out a name that ends in .parquet")
    require_free(out)


def _export_folder(form: str, folder: Path) -> Path:
    if form != "lm-eval":
        raise UserError(f"--export {form!r}: is unknown; use --export lm-eval DIR")
    require_free(folder)
    return folder


def _export(facts: Sequence[Fact], folder: Path) -> list[str]:
    from sftlens.scoring import export_harness_tasks

    return export_harness_tasks(facts, folder)


def _split(name: str) -> Split:
    for known in SPLITS:
        if name == known:
            return known
    raise UserError(f"--split {name!r}: is unknown; use {', '.join(SPLITS)}")


def _alias_groups(aliases: str | None, source: str) -> AliasGroups:
    if aliases == _NO_ALIASES:
        return ()
    own = () if aliases is None else load_aliases(Path(aliases))
    return [*source_aliases(source), *own]


def _columns(pairs: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not field or not equals or not column:
            raise UserError(f"--column {pair!r}: is no FIELD=COLUMN; write question=q")
        if field in columns:
            raise UserError(f"--column {pair!r}: {field} has a column already; name one")
        columns[field] = column
    return columns
