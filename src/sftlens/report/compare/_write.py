"""A comparison of runs in a folder of its own: one page and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sftlens import __version__, notebook
from sftlens.manifest import file_hash
from sftlens.output_folder import open_output
from sftlens.report._judged import claims_table
from sftlens.report.compare._content import claims_of, shown_sizes
from sftlens.report.compare._numbers import ACCURACY, numbers
from sftlens.report.compare._page import render
from sftlens.report.compare._settings import all_settings, settings_table
from sftlens.report.compare._sources import Source, read_sources, shared_facts
from sftlens.report.paper._training import MEAN
from sftlens.texts import encodable

STAGE = "comparison"
_PAGE = "index.html"


@dataclass(frozen=True)
class ComparisonResult(notebook.Tabular):
    """What ``sftlens report RUN1 RUN2`` tells.

    Attributes:
        report: the page.
        runs: labels, the first being what the others are held against.
        facts: of each run the test facts it was scored on, those it shares with the first run, and
            whether both base models have them at the same mastery levels; None without any.
        accuracy: the headline accuracy at the largest common size of each training level, with
            interval and difference from the first run; rows of ``comparison.parquet``.
        claims: of each claim the decision of each run.
        settings: of each setting that differs the value in each run.
        out: the folder.
    """

    report: str
    runs: list[str]
    facts: list[dict[str, Any] | None]
    accuracy: list[dict[str, Any]]
    claims: dict[str, dict[str, str]]
    settings: dict[str, dict[str, str | None]]
    out: str

    def to_polars(self) -> pl.DataFrame:
        """The rows of ``accuracy``."""
        return notebook.many_rows(self.accuracy)

    def _repr_html_(self) -> str:
        title = "accuracy of runs, and how much they differ from the first"
        return notebook.as_html(title, self.to_polars(), [f"the page: {self.report}"])


def write_comparison(runs: Sequence[Path], out: Path) -> ComparisonResult:
    """Put the runs of several studies side by side.

    The folder holds ``index.html``, which loads nothing, and its tables: ``comparison.parquet``
    (:data:`NUMBERS_SCHEMA`), ``claims.parquet`` (those of the runs, with the column ``run``),
    ``settings.parquet`` and ``manifest.json``. Where it holds this comparison of these very tables
    already, it is left as it is.

    Args:
        runs: run folders; the first is what the others are held against.
        out: the folder; must be absent or empty, or hold this comparison.

    Raises:
        UserError: when a folder is no study's or is named twice, a table is not sound, or ``out``
            holds something else.
    """
    sources = read_sources(runs)
    config = {
        "version": __version__,
        "runs": [{"label": one.label, "tables": _hashes(one.folder)} for one in sources],
    }
    with open_output(out, stage=STAGE, config=config) as output:
        if output.finished is not None:
            return _result(output.finished, out)
        shared = [
            None if source is sources[0] else shared_facts(source, sources[0]) for source in sources
        ]
        measured = numbers(sources, shared)
        settings = all_settings(sources)
        claims = pl.concat(
            [
                claims_table(source.folder).select(pl.lit(source.label).alias("run"), pl.all())
                for source in sources
            ],
            how="diagonal_relaxed",
        )
        result: dict[str, Any] = {
            "runs": [source.label for source in sources],
            "facts": [
                _facts(source)
                if one is None
                else {
                    "num_facts": one.num_own,
                    "num_shared": one.num_shared,
                    "same_levels": one.same_levels,
                }
                for source, one in zip(sources, shared, strict=True)
            ],
            "accuracy": _headlines(measured, sources),
            "claims": {name: dict(rows) for name, rows in _by_claim(claims).items()},
            "settings": {
                f"{one.part}: {one.name}": dict(
                    zip((s.label for s in sources), one.values, strict=True)
                )
                for one in settings
                if one.differs
            },
        }
        folder = output.work
        measured.write_parquet(folder / "comparison.parquet")
        claims.write_parquet(folder / "claims.parquet")
        settings_table(sources, settings).write_parquet(folder / "settings.parquet")
        page = render(sources, shared, measured, settings, claims_of(sources, claims))
        (folder / _PAGE).write_text(encodable(page), encoding="utf-8")
        output.complete(result)
    return _result(result, out)


def _hashes(folder: Path) -> dict[str, str]:
    """Of the run's own tables and manifest."""
    paths = sorted([*folder.glob("*.parquet"), folder / "manifest.json"])
    return {path.name: file_hash(path) for path in paths}


def _result(found: Mapping[str, Any], out: Path) -> ComparisonResult:
    return ComparisonResult(report=str(out / _PAGE), out=str(out), **found)


def _facts(first: Source) -> dict[str, Any] | None:
    answers = first.answers
    if answers is None:
        return None
    num_facts = sum(int(answers.test(domain).sum()) for domain in answers.domains)
    return {"num_facts": num_facts, "num_shared": num_facts, "same_levels": True}


def _headlines(measured: pl.DataFrame, sources: Sequence[Source]) -> list[dict[str, Any]]:
    labels = [source.label for source in sources]
    keep = [
        (label, level, size)
        for level, shown in shown_sizes(measured, labels, ACCURACY).items()
        for label, size in zip(labels, shown.sizes, strict=True)
        if size is not None
    ]
    wanted = pl.DataFrame(keep, schema=["run", "level", "size"], orient="row")
    rows = measured.filter(pl.col("quantity") == ACCURACY, pl.col("test_level") == MEAN)
    columns = ["run", "domain", "level", "size", "value", "low", "high", "difference"]
    columns += ["difference_low", "difference_high", "num_shared_facts", "weighted_by"]
    if wanted.is_empty():
        return []
    shown_rows = rows.join(wanted, on=["run", "level", "size"], maintain_order="left")
    return shown_rows.select(columns).to_dicts()


def _by_claim(claims: pl.DataFrame) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for run, name, decision in claims.select("run", "claim", "decision").iter_rows():
        found.setdefault(name, {})[run] = decision
    return found
