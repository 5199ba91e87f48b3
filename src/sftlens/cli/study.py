"""sftlens study: plan and run a whole study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftlens.cli._app import Json, app, emit
from sftlens.cli._tables import print_line, print_table
from sftlens.errors import UserError

if TYPE_CHECKING:
    from sftlens.study import Planned, StudyResult

study = typer.Typer(
    help="Plan or run a whole study: probe, fine-tune, score, compare, restore.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(study, name="study")

StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]


@study.command()
def plan(
    file: StudyArgument,
    rates: Annotated[
        Path | None,
        typer.Option(help="YAML file of measured rates: probe, train, score, in tokens/s."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Measure the rates here; loads the base model."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell the jobs of a study and what they will take."""
    from sftlens.study import load_rates, load_study, plan_study

    if rates is not None and calibrate:
        raise UserError("--rates and --calibrate: give one of them")
    found = plan_study(
        load_study(file), rates=None if rates is None else load_rates(rates), calibration=calibrate
    )
    payload = {**found.as_json(), "estimate": [one._asdict() for one in found.estimate]}
    emit(payload, as_json, lambda: _show_plan(found))


@study.command()
def run(
    file: StudyArgument,
    out: Annotated[
        Path | None, typer.Option(help="The run folder, instead of that of the file.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_024,
            help="Jobs at a time; by default as many as memory and cores have room for. The "
            "results do not depend on it.",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Do the jobs on a Ray cluster: host:port, auto (this machine's) or local; all "
            "nodes must see the run folder. Needs sftlens[cluster].",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Do what is not done yet of a study, and write its tables and its report."""
    from sftlens.study import load_study, run_study

    result = run_study(load_study(file), out, num_workers=workers, cluster=cluster)
    emit(result.as_json(), as_json, lambda: _show_run(result))
    if result.num_failed:
        name, reason = next(iter(result.failures.items()))
        raise UserError(
            f"{result.num_failed} of {result.num_jobs} jobs failed, the first: {name}: {reason}; "
            "the same command tries them again"
        )


def _show_plan(found: Planned) -> None:
    print_table(f"{found.num_jobs} jobs", ["kind", "jobs"], found.kinds.items())
    for one in found.estimate:
        value = (
            f"{one.value:,.0f}"
            if one.value >= 100 or one.value == int(one.value)
            else (f"{one.value:.3g}")
        )
        print_line(f"{one.what}: {value} {one.unit}")
        print_line(f"    {one.rests_on}")
    for note in found.notes:
        print_line(note)


def _show_run(result: StudyResult) -> None:
    print_table(
        f"{result.num_jobs} jobs",
        ["", "jobs"],
        [
            ["done", result.num_done],
            ["failed", result.num_failed],
            ["skipped, since they wait for a failed one", result.num_skipped],
        ],
    )
    for name, reason in result.failures.items():
        print_line(f"{name}: {reason}")
    for note in result.notes:
        print_line(note)
    print_line(f"written to {result.out}")
    if result.report is not None:
        print_line(f"the report is at {result.report}")
