"""Facts as tasks of lm-evaluation-harness: what is written, and how its code judges."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sftlens.errors import UserError
from sftlens.facts import Fact, matches
from sftlens.generation import question_prompt
from sftlens.scoring import ScoreSettings, export_harness_tasks
from tiny_world import make_fact

AWKWARD = (
    "<b>Where</b> &amp; <script>alert('{{ 1 + 1 }}')</script>?",
    "{% raw %}{{ doc }} ${x} {question} {0} %s {# note #}",
    "first line\nsecond\r\nthird\u2028fourth\tfifth \\n",
    "אֵיפֹה נוֹלַד \u202e{{ זה }}؟ أين وُلد",
    "!function utils.exact: - [a, *b] # yes",
    '\'"""\' \U0001f5fa ﬁ İ ß',
)


def awkward_facts() -> list[Fact]:
    return [
        make_fact(f"f{number}", text, f" {text}", question=text, subject=text)
        for number, text in enumerate(AWKWARD)
    ]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the code beside a task defines."""
    out = tmp_path_factory.mktemp("export") / "tasks"
    export_harness_tasks(awkward_facts(), out)
    return runpy.run_path(str(out / "utils.py"))


def test_what_is_written(tmp_path: Path) -> None:
    facts = [
        make_fact("a", split="test"),
        make_fact("b", split="test", domain="out"),
        make_fact("c", split="test"),
        make_fact("d"),
    ]
    out = tmp_path / "tasks"
    tasks = export_harness_tasks(facts, out, ScoreSettings(max_new_tokens=9, matching="words"))
    assert tasks == ["sftlens_in_test", "sftlens_in_train", "sftlens_out_test"]
    assert {path.name for path in out.iterdir()} == {
        "sftlens.yaml",
        "utils.py",
        *(f"{task}.{ending}" for task in tasks for ending in ("yaml", "jsonl")),
    }
    rows = runpy.run_path(str(out / "utils.py"))["read_facts"]("sftlens_in_test")["facts"]
    assert rows["fact_id"] == ["a", "c"]
    text = (out / "sftlens_in_test.yaml").read_text()
    assert "max_gen_toks: 9" in text
    assert "!function utils.words " in text


def test_awkward_facts_are_unharmed(code: dict[str, Any]) -> None:
    rows = code["read_facts"]("sftlens_in_train", version=1)["facts"]
    assert len(rows) == len(AWKWARD)
    for fact, doc in zip(awkward_facts(), rows, strict=True):
        assert code["prompt"](doc) == question_prompt(fact.question)
        assert code["answers"](doc) == list(fact.answers)
        assert (doc["fact_id"], doc["topic"], doc["subject"], doc["question"]) == (
            fact.fact_id,
            fact.topic,
            fact.subject,
            fact.question,
        )


def test_the_code_needs_nothing_of_ours(code: dict[str, Any]) -> None:
    tree = ast.parse(Path(code["__file__"]).read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert modules - {"datasets"} <= sys.stdlib_module_names | {"collections.abc"}


@settings(max_examples=25)
@given(text=st.text(), answers=st.lists(st.text(), min_size=1, max_size=3))
@example(text="in  ＰＡＲＩＳ.", answers=["Paris"])
@example(text="an Iranian", answers=["Iran"])
@example(text="STRASSE", answers=["x", "Straße"])
@example(text="Iran", answers=[" iran\n"])
def test_the_code_judges_as_we_do(code: dict[str, Any], text: str, answers: list[str]) -> None:
    for matching in ("contains", "words", "exact"):
        judged = code[matching]({"answers": answers}, [text])
        assert judged == {"acc": float(matches(text, answers, matching))}


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a task of no facts"):
        export_harness_tasks([], tmp_path / "out")
    (tmp_path / "kept").touch()
    with pytest.raises(UserError, match="holds something already"):
        export_harness_tasks([make_fact()], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(question: str) -> str:
        raise RuntimeError("stopped")

    monkeypatch.setattr("sftlens.scoring._harness._export.question_prompt", fails)
    with pytest.raises(RuntimeError, match="stopped"):
        export_harness_tasks([make_fact()], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
