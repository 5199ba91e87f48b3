"""Every command and every piece of Python in the documentation runs, or says why not."""

from __future__ import annotations

import ast
import re
import sys
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
import yaml
from documented import (
    PROGRAMS,
    PYTHON,
    ROOT,
    SHELL,
    Block,
    blocks,
    inline_commands,
    installs,
    is_ours,
    lines,
    options_of,
    own_words,
    pages,
    parse,
)

from sftlens.cli import main
from sftlens.mastery import run_probe
from sftlens.study import StudyFile
from tiny_world import PROBE

ALL = [block for page in pages() for block in blocks(page)]
README = "README.md"  # tests/test_readme.py runs its commands


def _has_work(page: Path) -> bool:
    return any(b.reason is None and b.language in (*SHELL, *PYTHON) for b in blocks(page))


WORKING = [page for page in pages() if page.name != README and _has_work(page)]


def test_no_block_hides() -> None:
    """Commands stand in fenced blocks of a language that says so."""
    for block in ALL:
        assert not block.is_indented, f"{block.where}: put it between fences"
        if block.language not in (*SHELL, *PYTHON):
            first = {line.split()[0] for line in block.text.splitlines() if line.strip()}
            assert first.isdisjoint(PROGRAMS), f"{block.where}: mark it as sh"


def test_a_line_that_is_not_ours_says_why_it_is_not_run() -> None:
    """Beside ours, those that install the package run: in ``test_installing.py``."""
    for block in ALL:
        if block.language in SHELL and block.reason is None:
            for words in lines(block.text):
                told = f"{block.where}: {' '.join(words)}: is not run; say why before the block"
                assert is_ours(words) or installs(words), told


def test_reasons_are_given_to_commands_alone() -> None:
    for block in ALL:
        if block.reason is not None:
            assert block.language in (*SHELL, *PYTHON), f"{block.where}: needs no reason"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_of_the_command_line(page: Path) -> None:
    """Also those that are not run: their options and values exist."""
    for block in blocks(page):
        if block.language in SHELL:
            for words in lines(block.text):
                own = own_words(words)
                if own is not None:
                    parse(own)
                elif words[0] == "python" and len(words) > 1:
                    _require_script(block, words)
                elif words[0] == "make":
                    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                    assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE)
    for words in inline_commands(page):
        known = options_of(words)
        asked = {option for word in words for option in re.findall(r"--[a-z][a-z-]*", word)}
        assert known is None or asked <= known, (page, words)


def _require_script(block: Block, words: list[str]) -> None:
    script = ROOT / words[1]
    assert script.is_file(), f"{block.where}: {words[1]} does not exist"
    text = script.read_text(encoding="utf-8")
    for word in words[2:]:
        if word.startswith("--"):
            assert word.partition("=")[0] in text, f"{block.where}: {words[1]} has no {word}"


def test_python_that_is_not_run_imports_what_there_is() -> None:
    for block in ALL:
        if block.language in PYTHON and block.reason is not None:
            for statement in ast.parse(block.text).body:
                if isinstance(statement, ast.ImportFrom) and statement.module is not None:
                    module = import_module(statement.module)
                    missing = [n.name for n in statement.names if not hasattr(module, n.name)]
                    assert not missing, f"{block.where}: {module.__name__} has no {missing}"


def test_yaml_is_what_the_readers_take() -> None:
    for block in ALL:
        if block.language == "yaml":
            read = yaml.safe_load(block.text)
            if isinstance(read, dict) and {"base", "scale"} & read.keys():
                StudyFile.model_validate(read)


@pytest.fixture(scope="module")
def asked_facts(models: Path, world: Path, base: Path) -> tuple[Path, Path]:
    """Facts of the tiny world, each to train on, to validate and to test on; and their mastery."""
    told = pl.read_parquet(world / "exposures.parquet").filter(pl.col("num_statements") > 0)
    facts = pl.read_parquet(world / "facts.parquet").filter(domain="in")
    known = facts.join(told, on="fact_id", how="semi").head(24)
    known = known.select("topic", "subject", "question", answers=pl.col("answers").list.first())
    asked = models / "documented.csv"
    question = pl.col("question").str.strip_suffix("?")
    pl.concat(
        [
            known.with_columns(split=pl.lit("train")),
            known.with_columns(question, split=pl.lit("test")),
        ]
    ).write_csv(asked)
    mastery = models / "documented-mastery"
    run_probe(str(base), str(asked), mastery, PROBE)
    return asked, mastery


@pytest.fixture(scope="module")
def adapter(models: Path, base: Path) -> Path:
    """An untrained LoRA adapter of the base, as peft saves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    settings = LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, settings).save_pretrained(models / "adapter")
    return models / "adapter"


@pytest.mark.parametrize("page", WORKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_runs(
    page: Path,
    base: Path,
    tuned: Path,
    adapter: Path,
    asked_facts: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From top to bottom, in one folder, as a reader would do it.

    The folder holds what pages take for granted: the models BASE, TUNED and ADAPTER, ``facts.csv``,
    and its mastery where the page does not measure it.
    """
    own = [block for block in blocks(page) if block.reason is None]
    for name, folder in (("BASE", base), ("TUNED", tuned), ("ADAPTER", adapter)):
        (tmp_path / name).symlink_to(folder)
    facts, mastery = asked_facts
    (tmp_path / "facts.csv").symlink_to(facts)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    probes = [words for block in own if block.language in SHELL for words in lines(block.text)]
    if not any(words[:2] == ["sftlens", "probe"] and words[-1] == "mastery" for words in probes):
        (tmp_path / "mastery").symlink_to(mastery)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in own:
        if block.title is not None:
            Path(block.title).write_text(block.text, encoding="utf-8")
        if block.language in SHELL:
            for words in lines(block.text):
                if is_ours(words):
                    _run(words, monkeypatch)
        elif block.language in PYTHON:
            monkeypatch.setitem(sys.modules, "page", type(sys)("page"))
            exec(compile(block.text, block.where, "exec"), names)


def _run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, words


@pytest.mark.parametrize(
    "words",
    [["probe", "BASE", "F", "--out", "D", "--no-such"], ["no-such"], ["tune", "B", "F"]],
)
def test_a_command_that_does_not_exist_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing|unexpected"):
        parse(words)
