"""sftlens report: write a run's page again, or put runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import percent, print_line, print_table
from sftlens.errors import UserError
from sftlens.rounding import between_points, points

if TYPE_CHECKING:
    from sftlens.report.compare import ComparisonResult


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of studies.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of a comparison; by default comparison. One run has its own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a run folder; put several side by side, against the first."""
    if len(runs) == 1:
        if out is not None:
            raise UserError(
                f"--out: {out}: the report of one run stands in its folder; leave --out away, or "
                "name two runs or more"
            )
        _write_one(runs[0], as_json)
        return
    from sftlens.report.compare import write_comparison

    result = write_comparison(runs, out or Path("comparison"))
    emit(result.as_json(), as_json, lambda: _show(result))


def _write_one(run: Path, as_json: bool) -> None:
    from sftlens.report import write_run_report
    from sftlens.report.paper import PAPER

    path, paper = write_run_report(run)
    content = {
        "out": str(path),
        "paper": str(run / PAPER),
        "tables": sorted({file.stem for file in paper.files}),
        "figures": sorted({file.stem for file in paper.figures}),
        "missing": paper.missing,
        "notes": paper.notes,
    }
    emit(content, as_json, lambda: _show_one(content))


def _show_one(content: dict[str, Any]) -> None:
    print_table(
        f"the paper's tables in {content['paper']}",
        ["table", "figure", "lacks"],
        [
            *(
                [name, "yes" if name in content["figures"] else None, None]
                for name in content["tables"]
            ),
            *([name, None, reason] for name, reason in content["missing"].items()),
        ],
    )
    for note in content["notes"]:
        print_line(note)
    print_line(f"the report is at {content['out']}")


def _show(result: ComparisonResult) -> None:
    from sftlens.report.compare import decided_otherwise

    for place, (label, facts) in enumerate(zip(result.runs, result.facts, strict=True), start=1):
        print_line(f"{place}: {label}, {_facts(facts, place)}")
    by_row: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in result.accuracy:
        by_row.setdefault((row["domain"], row["level"]), {})[row["run"]] = row
    print_table(
        "accuracy, and points over run 1 on the facts that both were asked (95 % interval)",
        ["domain, level", *(str(place) for place in range(1, len(result.runs) + 1))],
        [
            [f"{domain}, {level}", *(_cell(found.get(label)) for label in result.runs)]
            for (domain, level), found in by_row.items()
        ],
    )
    otherwise = sum(decided_otherwise(one.values()) for one in result.claims.values())
    print_line(f"{otherwise} of {len(result.claims)} claims of the paper are decided otherwise")
    print_line(f"{len(result.settings)} settings differ")
    print_line(f"the comparison is at {result.report}")


def _facts(facts: dict[str, Any] | None, place: int) -> str:
    if facts is None:
        return "not compared: no scored test facts"
    text = f"{facts['num_facts']:,} test facts"
    if place == 1:
        return text
    levels = "" if facts["same_levels"] else ", at other mastery levels"
    return f"{text}, {facts['num_shared']:,} of them asked by run 1 too{levels}"


def _cell(row: dict[str, Any] | None) -> str | None:
    if row is None:
        return None
    text = f"{percent(row['value'])} at {row['size']:,}"
    if row["difference"] is None:
        return text
    ends = between_points(row["difference_low"], row["difference_high"])
    return f"{text}\n{points(row['difference'])} ({ends})"
