"""Figures for papers: sizes, fonts, determinism, and names that are only names."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from sftlens.report.figures import REMEDY, write_figures
from sftlens.report.figures._drawings import DRAWINGS
from sftlens.report.figures._look import STYLE
from sftlens.report.paper import Study, paper_tables, write_paper_tables

mpl = pytest.importorskip("matplotlib", reason="matplotlib is not installed")

Tables = dict[str, "pl.DataFrame | None"]
HOSTILE = r"$_{x}&%<b>\frac$"
NAMES = [drawing.name for drawing in DRAWINGS]
TEXT_WIDTH, COLUMN_WIDTH = 6.8 * 72, 3.3 * 72  # points


@pytest.fixture(scope="module")
def tables() -> Tables:
    from small_study import small_study

    study = small_study()
    scores = study["scores"]
    random = scores.filter(pl.col("method") == "relative").with_columns(method=pl.lit(HOSTILE))
    study["scores"] = pl.concat([scores, random])
    return {one.name: one.table for one in paper_tables(Study(study))}


@pytest.fixture(scope="module")
def folder(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    written = write_figures(tables, folder)
    assert written.missing == {}
    assert [path.name for path in written.files] == [
        f"{n}.{k}" for n in NAMES for k in ("svg", "pdf")
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in written.files)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_has_the_width_of_a_column_or_of_the_text(folder: Path, name: str) -> None:
    svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
    (width,) = re.findall(r'<svg [^>]*?width="([0-9.]+)pt"', svg)
    assert float(width) in (pytest.approx(TEXT_WIDTH), pytest.approx(COLUMN_WIDTH))
    pdf = (folder / f"{name}.pdf").read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([0-9.]+) ", pdf)
    assert float(box) == pytest.approx(float(width))


@pytest.mark.parametrize("name", NAMES)
def test_fonts_are_embedded_and_no_date_is_told(folder: Path, name: str) -> None:
    pdf = (folder / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"/CreationDate" not in pdf
    svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in svg
    assert "<text" not in svg  # letters are outlines: no font is needed
    assert "http" not in re.sub(
        r"xmlns[^=]*=\"[^\"]*\"|<metadata>.*?</metadata>|<!DOCTYPE.*?>", "", svg, flags=re.DOTALL
    )


def test_no_letter_is_below_seven_points(tables: Tables) -> None:
    from matplotlib.text import Text

    with mpl.rc_context(STYLE):
        for drawing in DRAWINGS:
            table = tables[drawing.table]
            assert table is not None
            figure = drawing.draw(table.drop_nulls("value") if "value" in table.columns else table)
            sizes = [one.get_fontsize() for one in figure.findobj(Text) if one.get_text()]
            assert sizes
            assert min(sizes) >= 7, drawing.name


def test_equal_tables_give_equal_files(folder: Path, tables: Tables, tmp_path: Path) -> None:
    names = {"restoration", "level_sizes", "accuracy_by_level"}
    few = {name: table for name, table in tables.items() if name in names}
    for path in write_figures(few, tmp_path).files:
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_of_many_topics_those_of_most_facts_are_drawn() -> None:
    counts = [(topic, level, topic) for topic in range(100) for level in range(5)]
    table = pl.DataFrame(counts, schema=["topic", "level", "num_facts"], orient="row").select(
        pl.lit("in").alias("domain"), pl.format("T{}", "topic").alias("topic"), "level", "num_facts"
    )
    (draw,) = (one.draw for one in DRAWINGS if one.name == "levels_by_topic")
    (axes,) = draw(table).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"T{topic}" for topic in range(40, 100)]
    assert axes.get_title() == "in-domain, 60 of 100 topics"


def test_a_model_of_many_layers_has_a_map_without_numbers() -> None:
    rows = [("relative", str(layer), name, 0.01) for layer in range(80) for name in ("attn", "mlp")]
    table = pl.DataFrame(rows, schema=["measure", "layer", "module", "value"], orient="row")
    (draw,) = (one.draw for one in DRAWINGS if one.name == "change_by_place")
    figure = draw(table)
    (axes,) = figure.axes
    assert not axes.texts
    assert figure.get_size_inches()[1] < 9.5
    assert [label.get_text() for label in axes.get_yticklabels()] == [*map(str, range(0, 80, 8))]


def test_a_name_is_no_formula(tables: Tables) -> None:
    """A dollar sign in a name would start mathematics."""
    from matplotlib.text import Text

    table = tables["restoration"]
    assert table is not None
    (draw,) = (one.draw for one in DRAWINGS if one.name == "restoration_methods")
    with mpl.rc_context(STYLE):
        texts = draw(table.drop_nulls("value")).findobj(Text)
    assert HOSTILE in {text.get_text() for text in texts}
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts)


def test_a_figure_of_nothing_is_removed_and_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "restoration.svg").write_bytes(b"old")
    written = write_figures({"restoration": None}, tmp_path)
    assert written.files == []
    assert set(written.missing) == set(NAMES)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_study_goes_on(tmp_path: Path) -> None:
    old = tmp_path / "paper" / "figures" / "restoration.svg"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of other tables")
    result = write_paper_tables(tmp_path)  # can_draw is false in tests
    assert not old.parent.exists()
    assert result.figures == []
    assert result.notes == [REMEDY]
    assert 'pip install "sftlens[figures]"' in REMEDY


def test_with_matplotlib_the_paper_has_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from small_study import small_study

    from sftlens.report.paper import _write

    monkeypatch.setattr(_write, "can_draw", lambda: True)
    for name in ("facts", "mastery"):
        small_study()[name].write_parquet(tmp_path / f"{name}.parquet")
    result = write_paper_tables(tmp_path)
    assert result.notes == []
    assert [path.relative_to(tmp_path).as_posix() for path in result.figures] == [
        f"paper/figures/{name}.{kind}"
        for name in ("level_sizes", "levels_by_topic")
        for kind in ("svg", "pdf")
    ]
