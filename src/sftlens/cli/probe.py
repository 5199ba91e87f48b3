"""sftlens probe: mastery and levels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from sftlens.cli._app import Json, app, checked, default, emit, setting
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.errors import UserError
from sftlens.facts import Matching
from sftlens.mastery import ProbeResult, ProbeSettings, Prompting, Serving, run_probe

S = ProbeSettings


@app.command()
def probe(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Base model: folder or hub id.")],
    facts: Annotated[
        str, typer.Argument(metavar="FACTS", help="Facts file, world folder or NAME:PATH.")
    ],
    out: Annotated[Path, typer.Option(help="The mastery folder.")],
    num_templates: Annotated[int, setting(S, "num_templates")] = default(S, "num_templates"),
    num_samples: Annotated[int, setting(S, "num_samples")] = default(S, "num_samples"),
    temperature: Annotated[float, setting(S, "temperature")] = default(S, "temperature"),
    max_new_tokens: Annotated[int, setting(S, "max_new_tokens")] = default(S, "max_new_tokens"),
    matching: Annotated[Matching, setting(S, "matching")] = default(S, "matching"),
    prompting: Annotated[Prompting, setting(S, "prompting")] = default(S, "prompting"),
    num_shots: Annotated[int, setting(S, "num_shots")] = default(S, "num_shots"),
    categories: Annotated[bool, setting(S, "categories", "--categories")] = False,
    seed: Annotated[int, setting(S, "seed")] = default(S, "seed"),
    topics: Annotated[
        Path | None, typer.Option(help="YAML file of own topics and templates.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Keep completions here, for this and other probes.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Do not end a completion where its outcome is settled.")
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(help="URL of an OpenAI-compatible server that completes for BASE."),
    ] = None,
    endpoint_model: Annotated[
        str | None, typer.Option(help="What the server calls the model; needed if it has several.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1_024, help="Requests that the server gets at the same time.")
    ] = 16,
    patience: Annotated[
        float,
        typer.Option(min=0, max=1e6, help="Seconds to wait for a server that is gone or busy."),
    ] = 600.0,
    as_json: Json = False,
) -> None:
    """Grade how well a base model masters each fact."""
    settings = checked(
        S,
        num_templates=num_templates,
        num_samples=num_samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        matching=matching,
        prompting=prompting,
        num_shots=num_shots,
        categories=categories,
        seed=seed,
    )
    if not math.isfinite(patience):
        raise UserError(f"--patience {patience}: is no number of seconds; give one, such as 600")
    serving = None if endpoint is None else Serving(endpoint, endpoint_model, concurrency, patience)
    result = run_probe(
        base,
        facts,
        out,
        settings,
        topics_file=topics,
        ledger=ledger,
        serving=serving,
        cut=not whole,
    )
    if result is not None:  # else another process tells it
        emit(result.as_json(), as_json, lambda: _show(result))


def _show(result: ProbeResult) -> None:
    title = f"{result.num_facts} facts, {result.num_completions:,} completions"
    others = result.levels_without_echoed or result.levels
    rows = [
        (level, number, percent(number / result.num_facts), percent(uncertain), number - other)
        for level, (number, uncertain, other) in enumerate(
            zip(result.levels, result.uncertain, others, strict=True)
        )
    ]
    print_table(title, ["level", "facts", "share", "uncertain", "echoed"], rows)
    if result.num_echoed:
        print_line(
            f"echoed: {result.num_echoed} facts have an answer in their own question, so that "
            "repeating it is right"
        )
    print_line(
        f"R has a standard error of {result.standard_error:.3f} on average; a level is uncertain "
        "where the 95 % interval of R reaches into another, as it does wherever nothing was hit"
    )
    print_table(
        "by topic",
        ["topic", "facts", *(f"level {level}" for level in range(len(result.levels))), "R"],
        [
            (one["topic"], one["num_facts"], *one["levels"], f"{one['mastery']:.2f}")
            for one in result.topics
        ],
    )
    if result.categories is not None:
        print_table("by SliCK's categories", ["category", "facts"], result.categories.items())
    for one in result.examples:
        print_line(
            f"level {one['level']}: {_short(one['question'])} {_short(one['answers'][0])}; "
            f"the model: {_short(one['completion'])}"
        )
    for note in result.notes:
        print_line(note)
    print_line(f"written to {result.out}; what each template gave stands in templates.parquet")


def _short(text: str, size: int = 48) -> str:
    line = " ".join(text.split())
    return line if len(line) <= size else f"{line[: size - 1]}…"
