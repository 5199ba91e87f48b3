"""Tables as LaTeX."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latex import rows_of
from small_study import small_study

from sftlens.report.paper import Study, paper_tables
from sftlens.report.paper._contents import CONTENTS, Spec
from sftlens.report.paper._latex import Layout, Measure, escaped, latex_table


def table_of(*rows: tuple[object, ...]) -> pl.DataFrame:
    columns = ["name", "size", "value", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_percent_with_the_interval_in_small_brackets() -> None:
    table = table_of(("a", 240, 0.5746, -0.012, 0.6), ("a", 1920, None, None, None))
    layout = Layout({"name": "Name"}, [Measure("Accuracy")], across="size")
    text = latex_table(table, layout, caption="Of a model (paper: Table 2).", label="x")
    assert rows_of(text) == [
        ["a", r"57.5 {\scriptsize [\ensuremath{-}1.2, 60.0]}", "--"],
    ]
    assert "Name & 240 & 1,920 \\\\" in text
    assert r"\caption{Of a model (paper: Table 2).}" in text
    assert r"\toprule" in text


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


@pytest.mark.skipif(_TEX is None, reason="neither tectonic nor pdflatex is installed")
def test_the_tables_compile(tmp_path: Path) -> None:
    names = []
    for made in paper_tables(Study(small_study())):
        spec = next(spec for spec in CONTENTS if spec.name == made.name)
        if made.table is not None:
            table = with_hostile_names(made.table)
            text = latex_table(table, spec.layout, caption=spec.caption, label=spec.name)
            (tmp_path / f"{spec.name}.tex").write_text(text, encoding="utf-8")
            names.append(spec.name)
    inputs = "\n".join(rf"\input{{{name}}}" for name in names)
    packages = "\n".join(
        rf"\usepackage{given}"
        for given in ("[T1]{fontenc}", "[utf8]{inputenc}", "{textcomp}", "{booktabs,longtable}")
    )
    document = f"\\documentclass{{article}}\n{packages}\n\\begin{{document}}\n{inputs}\n"
    (tmp_path / "all.tex").write_text(f"{document}\\end{{document}}\n", encoding="utf-8")
    assert _TEX is not None
    how = [] if _TEX == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [_TEX, *how, "all.tex"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 0
