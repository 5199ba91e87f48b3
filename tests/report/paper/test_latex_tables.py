"""Tables as LaTeX."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latex import rows_of
from small_study import small_study

from sftlens.report.paper import Study, paper_tables
from sftlens.report.paper._contents import CONTENTS
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
