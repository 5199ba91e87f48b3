"""The README's commands run as they stand there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import polars as pl
import pytest

from sftlens.cli import main
from sftlens.generation import Decoding, TransformersGenerator, load_model

README = Path(__file__).parents[1] / "README.md"


def commands() -> list[list[str]]:
    """The ``sftlens`` lines of the code blocks, in their order."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("sftlens ")]


def write_facts(path: Path, world: Path, num_facts: int) -> None:
    """The in-domain facts that were told often, each once to train on and once to test on."""
    told = pl.read_parquet(world / "exposures.parquet").filter(pl.col("num_statements") > 0)
    facts = pl.read_parquet(world / "facts.parquet").filter(domain="in")
    known = facts.join(told, on="fact_id", how="semi").head(num_facts)
    known = known.select("topic", "subject", "question", answers=pl.col("answers").list.first())
    pl.concat(
        [
            known.with_columns(split=pl.lit("train")),
            known.with_columns(pl.col("question").str.strip_suffix("?"), split=pl.lit("test")),
        ]
    ).write_csv(path)


def test_the_commands_run(
    base: Path, tuned: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_facts(tmp_path / "facts.csv", world, num_facts=50)
    monkeypatch.chdir(tmp_path)
    models = {"BASE": str(base), "TUNED": str(tuned)}
    called = commands()
    assert len(called) >= 8
    for command in called:
        monkeypatch.setattr(sys, "argv", [models.get(word, word) for word in command])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, command
    model, tokenizer, _ = load_model("repaired/model")
    answers = TransformersGenerator(model, tokenizer).complete(["Where"], Decoding())
    assert sum(len(batch) for batch in answers) == 1


def test_three_commands_repair_a_model() -> None:
    section = README.read_text(encoding="utf-8").split("## Repair a model")[1].split("## ")[0]
    lines = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0].splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    assert [line[:2] for line in words] == [
        ["pip", "install"],
        ["sftlens", "facts"],
        ["sftlens", "repair"],
    ]
    assert all(line in commands() for line in words[1:])


def test_the_tree_is_the_package() -> None:
    tree = README.read_text(encoding="utf-8").split("src/sftlens/\n")[1].split("tests/")[0]
    told = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.strip()}
    package = README.parent / "src" / "sftlens"
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= told
    assert all((package / name).exists() for name in told)
