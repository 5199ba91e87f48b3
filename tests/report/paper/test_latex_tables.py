"""Tables as LaTeX."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latex import rows_of
from small_study import small_study

from sftlens.report.paper import Study, paper_tables
from sftlens.report.paper._contents import CONTENTS, Spec
from sftlens.report.paper._latex import escaped, latex_table
from sftlens.report.paper._layout import Layout, Measure


def table_of(*rows: tuple[object, ...]) -> pl.DataFrame:
    columns = ["name", "size", "value", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_percent_with_the_interval_below_in_small_print() -> None:
    table = table_of(("a", 240, 0.5746, -0.012, 0.6), ("a", 1920, None, None, None))
    layout = Layout({"name": "Name"}, [Measure("Accuracy")], across="size")
    text = latex_table(table, layout, caption="Of a model (paper: Table 2).", label="x")
    assert rows_of(text) == [
        ["a", r"57.5 {\tiny [\ensuremath{-}1.2,\,60.0]}", "--"],
    ]
    assert "Name & 240 & 1,920 \\\\" in text
    assert r"\caption{Of a model (paper: Table 2).}" in text
    assert r"\toprule" in text


def test_names_that_rows_share_stand_over_them() -> None:
    table = table_of(("in", 1, 0.5, None, None), ("in", 2, 0.6, None, None), ("out", 1, 0.7, 0, 1))
    layout = Layout({"name": "Domain", "size": "Size"}, [Measure("Accuracy")], groups=1)
    lines = latex_table(table, layout, caption="c", label="x").splitlines()
    start = lines.index(r"\endlastfoot") + 1
    assert lines[start:-2] == [
        r"\multicolumn{2}{@{}l}{\textit{Domain in}} \\*",
        r"1 & 50.0 \\",
        r"2 & 60.0 \\",
        r"\midrule",
        r"\multicolumn{2}{@{}l}{\textit{Domain out}} \\*",
        r"1 & 70.0 \\*[-0.6ex]",
        r" & {\tiny [0.0,\,100.0]} \\",
    ]


def test_a_row_without_a_place_across_spans_all() -> None:
    table = table_of(
        ("tuned", None, 0.5, 0.4, 0.6), ("relative", 5, 0.6, None, None), ("relative", 1, 0.7, 0, 1)
    )
    layout = Layout({"name": "Method"}, [Measure("Accuracy")], across="size")
    text = latex_table(table, layout, caption="c", label="x")
    assert "Method & 1 & 5 \\\\" in text
    assert rows_of(text) == [
        ["tuned", r"\multicolumn{2}{l}{50.0 {\tiny [40.0,\,60.0]}}"],
        ["relative", r"70.0 {\tiny [0.0,\,100.0]}", "60.0"],
    ]


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.1, 0.3, r"\textbf{50.0}"),
        (-0.3, -0.1, r"\textsl{50.0}"),
        (-0.1, 0.1, "50.0"),
        (0.0, 0.1, "50.0"),
        (None, None, "50.0"),
    ],
)
def test_what_is_surely_better_is_bold(low: float | None, high: float | None, shown: str) -> None:
    layout = Layout({"name": "Name"}, [Measure("Gain", interval=None, beside=("low", "high"))])
    text = latex_table(table_of(("a", 1, 0.5, low, high)), layout, caption="c", label="x")
    assert rows_of(text) == [["a", shown]]


def test_a_long_title_takes_two_lines() -> None:
    table = table_of(("a", 1, 0.5, None, None), ("a", 2, 0.5, None, None))
    layout = Layout(
        {"name": "Name"}, [Measure("Gain")], across="size", across_names={"2": ("over", "floor")}
    )
    text = latex_table(table, layout, caption="c", label="x")
    assert " &  & over \\\\\nName & 1 & floor \\\\" in text


def test_a_value_without_an_interval_stands_alone() -> None:
    layout = Layout({"name": "Name"}, [Measure("Accuracy")])
    text = latex_table(table_of(("a", 1, 0.5, None, None)), layout, caption="c", label="x")
    assert rows_of(text) == [["a", "50.0"]]


def test_a_small_negative_number_is_no_negative_zero() -> None:
    layout = Layout({"name": "Name"}, [Measure("Gain", interval=None)])
    text = latex_table(table_of(("a", 1, -0.0001, 0.0, 0.0)), layout, caption="c", label="x")
    assert rows_of(text) == [["a", "0.0"]]


def test_names_are_escaped() -> None:
    layout = Layout({"name": "Name"}, [Measure("Gain", interval=None)])
    table = table_of((r"P_1 & 50% \input{x} #2 {$^~", 1, 0.5, 0.0, 0.0))
    ((name, _),) = rows_of(latex_table(table, layout, caption="KL(t ‖ b) < 5 %", label="x"))
    assert name == (
        r"P\_1 \& 50\% \textbackslash{}input\{x\} \#2 \{\$\textasciicircum{}\textasciitilde{}"
    )


@given(st.text())
def test_any_text_is_one_cell(text: str) -> None:
    layout = Layout({"name": "Name"}, [Measure("Gain", interval=None)])
    made = latex_table(table_of((text, 1, 0.5, 0.0, 0.0)), layout, caption=text, label="x")
    assert len(rows_of(made)) == 1
    assert "\n" not in escaped(text)


@pytest.mark.parametrize("spec", CONTENTS, ids=lambda spec: spec.name)
def test_every_table_is_sound(spec: object) -> None:
    made = {one.name: one for one in paper_tables(Study(small_study()))}[spec.name]
    if spec.name == "claims":
        assert made.table is None
        return
    text = latex_table(made.table, spec.layout, caption=spec.caption, label=spec.name)
    assert rows_of(text)
    assert spec.source in text


HOSTILE = r"A_1 & 50% #2 {$^~} \input{x} <b> | \" ‖ − × α ²"
_TEX = next((name for name in ("tectonic", "pdflatex") if shutil.which(name)), None)
needs_tex = pytest.mark.skipif(_TEX is None, reason="neither tectonic nor pdflatex is installed")


def with_hostile_names(table: pl.DataFrame) -> pl.DataFrame:
    """Every method and module under a name that TeX would read as commands."""
    names = [name for name in ("method", "module", "sentence") if name in table.columns]
    return table.with_columns(pl.col(name) + f" {HOSTILE}" for name in names)


@pytest.mark.parametrize("spec", CONTENTS, ids=lambda spec: spec.name)
def test_every_table_is_set_with_booktabs_and_escaped(spec: Spec) -> None:
    made = {one.name: one for one in paper_tables(Study(small_study()))}[spec.name]
    if made.table is None:
        return
    table = with_hostile_names(made.table)
    text = latex_table(table, spec.layout, caption=spec.caption, label=spec.name)
    rows = rows_of(text)  # refuses what is not escaped, and rows of another length
    assert len(rows) == len(rows_of(latex_table(made.table, spec.layout, caption="c", label="x")))
    for rule in ("toprule", "midrule", "bottomrule"):
        assert rf"\{rule}" in text
    assert r"\hline" not in text
    assert "|" not in text.split("\n")[2]  # no upright rules
    if {"method", "module"} & set(spec.layout.names):
        assert r"A\_1 \& 50\% \#2 \{\$\textasciicircum{}\textasciitilde{}\}" in text
        assert HOSTILE not in text


def compiled(tables: Mapping[str, str], folder: Path) -> str:
    """What TeX says of a document of these tables in the class ``article``."""
    packages = "\n".join(
        rf"\usepackage{given}"
        for given in ("[T1]{fontenc}", "[utf8]{inputenc}", "{textcomp}", "{booktabs,longtable}")
    )
    for name, text in tables.items():
        (folder / f"{name}.tex").write_text(text, encoding="utf-8")
    inputs = "\n".join(rf"\input{{{name}}}" for name in tables)
    document = f"\\documentclass{{article}}\n{packages}\n\\begin{{document}}\n{inputs}\n"
    (folder / "all.tex").write_text(f"{document}\\end{{document}}\n", encoding="utf-8")
    assert _TEX is not None
    how = ["--print"] if _TEX == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    for _ in range(2):  # the first run measures the columns
        done = subprocess.run(
            [_TEX, *how, "all.tex"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (folder / "all.pdf").stat().st_size > 0
    return done.stdout + done.stderr


@needs_tex
@pytest.mark.parametrize("named", [with_hostile_names, lambda table: table], ids=["hostile", "own"])
def test_the_tables_compile_and_fit_the_page(
    named: Callable[[pl.DataFrame], pl.DataFrame], tmp_path: Path
) -> None:
    specs = {spec.name: spec for spec in CONTENTS}
    tables = {
        made.name: latex_table(
            named(made.table), specs[made.name].layout, caption=made.title, label=made.name
        )
        for made in paper_tables(Study(small_study()))
        if made.table is not None
    }
    said = compiled(tables, tmp_path)
    if named is not with_hostile_names:
        assert "too wide" not in said


@needs_tex
def test_a_table_as_wide_as_the_papers_fits_the_page(tmp_path: Path) -> None:
    spec = next(spec for spec in CONTENTS if spec.name == "restoration")
    shares = (1.0, 3.0, 5.0, 10.0, 20.0, 40.0, 60.0)
    rows = [
        ("out", 0, 1920, "small-base-matched", share, 0.425, 0.103, 1.0, -0.421, -0.203)
        for share in shares
    ]
    columns = ["domain", "level", "size", "method", "share", "value", "low", "high"]
    table = pl.DataFrame(rows, schema=[*columns, "difference_low", "difference_high"], orient="row")
    made = latex_table(table, spec.layout, caption=spec.caption, label="x")
    assert "too wide" not in compiled({"restoration": made}, tmp_path)
