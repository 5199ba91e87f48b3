"""A probe whose completions come from an endpoint."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from completions_server import CompletionsServer, Fault
from sftlens.cli import main
from sftlens.errors import UserError
from sftlens.facts import builtin_topics, facts_table
from sftlens.mastery import ProbeSettings, Serving, read_mastery, run_probe
from tiny_world import make_fact

SETTINGS = ProbeSettings(num_templates=3, num_samples=2, max_new_tokens=6)
# What the server writes is hexadecimal; this word of it is the first one after the first prompt.
FACTS = [make_fact(f"f{number}", "e028") for number in range(8)]


@pytest.fixture
def server() -> Iterator[CompletionsServer]:
    server = CompletionsServer()
    yield server
    server.close()


@pytest.fixture
def asked(tmp_path: Path) -> str:
    facts_table(FACTS).write_parquet(tmp_path / "facts.parquet")
    return str(tmp_path / "facts.parquet")


def of_facts(server: CompletionsServer) -> Counter[str]:
    """How often each prompt of a fact was asked; the first calls ask others."""
    prompts = {
        builtin_topics()["P19"].prompt(template, fact.subject)
        for fact in FACTS
        for template in range(3)
    }
    return Counter(r["prompt"] for r in server.requests if r["prompt"] in prompts)


def test_it_goes_on_where_the_server_failed(
    server: CompletionsServer, asked: str, tmp_path: Path
) -> None:
    def run() -> None:
        serving = Serving(server.url, concurrency=1)
        run_probe("big-model", asked, tmp_path / "out", SETTINGS, serving=serving)

    server.faults.extend([None] * 25 + [Fault(403, body=b'{"error": "no more"}')] * 99)
    with pytest.raises(UserError, match="no more"):
        run()
    assert not (tmp_path / "out").exists()
    done = of_facts(server)
    assert 0 < len(done) < 24
    server.faults.clear()
    run()
    twice = [prompt for prompt, times in of_facts(server).items() if times > 1]
    assert len(twice) <= 1  # the one under way when it failed
    assert len(of_facts(server)) == 24
    completions = pl.read_parquet(tmp_path / "out" / "completions.parquet")
    assert len(completions) == 8 * 3 * 2
    assert completions["hit"].any()


def test_an_undisturbed_probe_asks_each_prompt_once(
    server: CompletionsServer, asked: str, tmp_path: Path
) -> None:
    result = run_probe(
        *("big-model", asked, tmp_path / "out", SETTINGS), serving=Serving(server.url)
    )
    assert set(of_facts(server).values()) == {1}  # the server has n
    assert result is not None
    assert sum(result.levels) == 8
    count = len(server.requests)
    assert run_probe(*("big-model", asked, tmp_path / "out", SETTINGS), serving=Serving(server.url))
    assert len(server.requests) == count


def test_its_levels_can_be_used_but_not_checked(
    server: CompletionsServer, asked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_probe("big-model", asked, tmp_path / "out", SETTINGS, serving=Serving(server.url))
    mastery = read_mastery(tmp_path / "out")
    mastery.require_base({"name": "local", "weights": "w", "files": "f"})
    assert "probed at an endpoint as 'big-model'" in capsys.readouterr().err


def test_the_command(
    server: CompletionsServer,
    asked: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def call(*words: str) -> int:
        command = ["sftlens", "probe", "big-model", asked, "--out", str(tmp_path / "out"), *words]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    options = ["--num-templates", "2", "--num-samples", "2", "--json", "--endpoint"]
    assert call(*options, "http://127.0.0.1:1/", "--endpoint-model", "x", "--patience", "0") == 2
    assert capsys.readouterr().err.count("\n") <= 2
    server.models.append({"id": "another/model"})
    assert call(*options, server.url) == 2
    assert "another/model" in capsys.readouterr().err
    server.models.pop()
    assert call(*options, server.url) == 0
    assert json.loads(capsys.readouterr().out)["num_completions"] == 8 * 2 * 2
