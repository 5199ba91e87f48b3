"""Results in a notebook and as data frames."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sftlens import notebook
from sftlens.advice import AdviceResult
from sftlens.divergence import DivergenceResult
from sftlens.errors import UserError
from sftlens.facts import Fact, ReadFacts, facts_from_table
from sftlens.mastery import ProbeResult
from sftlens.repair import RepairResult
from sftlens.report.compare import ComparisonResult
from sftlens.report.paper import PaperTable, PaperTables
from sftlens.scoring import ScoreResult
from sftlens.study import DemoResult, Estimate, Planned, StudyResult
from sftlens.tuning import TuneResult
from sftlens.weights import DiffResult, Preview, RestoredOutput, RestoreResult
from sftlens.world import Pretrained, World

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
ACCURACY = {"levels": [0.0, None, 0.5, 1.0, 1.0], "mean": 0.625, "low": 0.5, "high": 0.75}
MEASURED = ("knowledge", "knowledge_in", "knowledge_out", "known", "over_base", "over_chosen")
ROW = {"run": HOSTILE, "domain": "in", "level": 0, "value": 0.25, "low": None, "high": None}
FACT = Fact("f", "P19", "Ada", HOSTILE, ("Rome", HOSTILE), "test", "in")
CANDIDATE = {
    **{"candidate": HOSTILE, "levels": [0, 1], "size": 8, "num_seeds": 0},
    **{f"{name}{end}": None for name in MEASURED for end in ("", "_low", "_high")},
    **{"recipe": False, "chosen": True},
}
RESTORED = RestoredOutput(
    share=20.0,
    path=Path(HOSTILE),
    dtype="bfloat16",
    num_parameters=10,
    num_restored=2,
    num_restored_changed=1,
    num_restored_small_base=1,
    num_restored_zero_base=0,
    num_ties=None,
    norm_removed=0.25,
    norm_to_match=None,
    alpha=None,
    warning=HOSTILE,
)

RESULTS: dict[str, Any] = {
    "plan": Planned(3, {"tune": 3}, [Estimate("time", 1.5, "h", HOSTILE)], [HOSTILE]),
    "probe": ProbeResult(
        num_facts=10,
        num_completions=20,
        levels=[4, 3, 2, 1, 0],
        out=HOSTILE,
        topics=[],
        uncertain=[0.0, 0.5, 0.5, 0.0, None],
        standard_error=0.1,
        categories=None,
        examples=[],
        notes=[HOSTILE],
    ),
    "score": ScoreResult({"in": ACCURACY, "out": None}, 12, 0, HOSTILE),
    "tune": TuneResult(num_facts=8, num_steps=1, final_loss=2.5, out=HOSTILE),
    "divergence": DivergenceResult(0.5, 0.4, 0.6, 0.7, 12, HOSTILE),
    "repair": RepairResult(
        chosen={"why": HOSTILE},
        candidates=[],
        front=[
            {"candidate": HOSTILE, "groups": [], "knowledge": None},
            {"candidate": "tuned", "groups": [], "knowledge": 0.5},
        ],
        decision=[],
        budget=4,
        evaluations=4.0,
        num_test_evaluations=2,
        num_facts={"test": 3},
        notes=[],
        out="out",
    ),
    "study": StudyResult(3, 2, 1, 0, {"tune a": HOSTILE}, [], None, "out"),
    "demo": DemoResult("index.html", 3, [1, 1, 1, 0, 0], 2, 1, HOSTILE),
    "comparison": ComparisonResult("page", ["a", "b"], [None, None], [ROW], {}, {}, HOSTILE),
    "advice": AdviceResult(
        advice={"statements": [{"advice": HOSTILE, "evidence": "e"}], "command": HOSTILE},
        candidates=[CANDIDATE],
        levels=[],
        budget=0,
        num_runs=0,
        num_facts={},
        notes=[HOSTILE],
        out=HOSTILE,
    ),
    "facts": ReadFacts([FACT], {HOSTILE: 2}),
    "diff": DiffResult(
        region="blocks",
        num_parameters=10,
        num_changed=5,
        concentration={"relative": {"1": 0.5, "2.5": None}, "null": {"1": 0.25, "2.5": 0.5}},
        layers=[],
        modules=[],
        histogram=[],
        num_zero_base=1,
        num_small_base=2,
        concentration_without_small_base={"relative": {"1": None, "2.5": 0.5}},
        top={share: {"num_changed": 1, "num_zero": 0, "num_small": 1} for share in ("1", "2.5")},
        casts=[],
        notes=[HOSTILE],
    ),
    "restore": RestoreResult(outputs=[RESTORED, replace(RESTORED, share=None, warning=None)]),
    "preview": Preview(
        outputs=[replace(RESTORED, path=None)],
        tensors=None,
        num_bytes=2_000_000_000,
        free_bytes=3_000_000_000,
        notes=[HOSTILE],
    ),
    "paper table": PaperTable("name", "Table 1", HOSTILE, pl.DataFrame({"a": [HOSTILE, None]}), []),
    "paper tables": PaperTables(
        [Path("paper/x.parquet"), Path("paper/x.csv")],
        {"y": HOSTILE},
        [],
        [],
        [],
        Path("paper/i.json"),
    ),
}
NUMBERS: dict[str, Any] = {
    "world": World([FACT], [], ["a", "b"]),
    "pretrained": Pretrained(100, 2, 1.5),
}


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_a_result_is_shown_as_text(result: Any) -> None:
    found = _Tags(result._repr_html_())
    assert found.tags <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert HOSTILE in found.text


@pytest.mark.parametrize("result", NUMBERS.values(), ids=NUMBERS)
def test_a_result_of_numbers_is_shown(result: Any) -> None:
    text = result._repr_html_()
    assert all(f"<th>{name}</th>" in text for name in result.to_polars().columns)


@pytest.mark.parametrize("result", [*RESULTS.values(), *NUMBERS.values()], ids=[*RESULTS, *NUMBERS])
def test_both_frames_hold_the_same(result: Any) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    table = result.to_polars()
    assert table.width
    assert len(table)
    assert_frame_equal(pl.from_pandas(result.to_pandas()), table, check_dtypes=False)


def test_what_the_frames_hold() -> None:
    assert RESULTS["probe"].to_polars().rows()[1] == (1, 3, 0.5)
    scores = RESULTS["score"].to_polars()
    assert scores["accuracy"].to_list() == [0.0, None, 0.5, 1.0, 1.0, 0.625]
    assert scores.row(5) == ("in", "mean", 0.625, 0.5, 0.75)
    assert RESULTS["divergence"].to_polars()["kl"].to_list() == [0.5]
    assert RESULTS["repair"].to_polars()["knowledge"].to_list() == [None, 0.5]
    assert RESULTS["paper tables"].to_polars().rows() == [("x", None), ("y", HOSTILE)]
    study = RESULTS["study"].to_polars()
    assert study.select("num_jobs", "num_failed", "report").rows() == [(3, 1, None)]


def test_what_the_frames_of_facts_and_worlds_hold() -> None:
    assert facts_from_table(RESULTS["facts"].to_polars()) == [FACT]
    assert NUMBERS["world"].to_polars().to_dicts() == [{"num_facts": 1, "num_texts": 2}]
    assert NUMBERS["pretrained"].to_polars().to_dicts() == [NUMBERS["pretrained"].as_json()]


def test_what_the_frames_of_advice_hold() -> None:
    assert RESULTS["advice"].to_polars().to_dicts() == [CANDIDATE]
    nothing = replace(RESULTS["advice"], candidates=[]).to_polars()
    assert nothing.columns == list(CANDIDATE)
    assert not len(nothing)


def test_what_the_frames_of_weights_hold() -> None:
    assert RESULTS["diff"].to_polars().rows() == [
        (1.0, 0.5, 0.25, None, 1, 0, 1),
        (2.5, None, 0.5, 0.5, 1, 0, 1),
    ]
    for name in ("restore", "preview"):
        result = RESULTS[name]
        assert result.to_polars().to_dicts() == [output.as_json() for output in result.outputs]
    assert "would take 2.00 GB, and 3.00 GB are free" in RESULTS["preview"]._repr_html_()


def test_a_column_without_values_has_its_type() -> None:
    one = RestoreResult(outputs=[RESTORED]).to_polars()
    other = RestoreResult(outputs=[replace(RESTORED, share=None, num_ties=1, alpha=0.5)])
    assert one.schema == other.to_polars().schema


def test_a_table_that_was_not_measured_is_told() -> None:
    table = PaperTable("other_tasks", "Table 5", "Other tasks", None, ["no table task_scores"])
    with pytest.raises(UserError, match="other_tasks: was not measured: no table task_scores"):
        table.to_polars()
    assert "no table task_scores" in table._repr_html_()


def test_without_pandas_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pip install pandas"):
        RESULTS["tune"].to_pandas()
    assert len(RESULTS["tune"].to_polars()) == 1


def test_a_long_table_is_cut_and_told() -> None:
    text = notebook.as_html("many", pl.DataFrame({"n": range(100)}))
    assert len(re.findall("<tr>", text)) == 61
    assert "40 more rows: see to_polars()" in text


def test_cells() -> None:
    table = pl.DataFrame({"a": [True], "b": [None], "c": [0.123456], "d": [12345]})
    assert _Tags(notebook.as_html("", table)).text.endswith("yes–0.123512,345")
