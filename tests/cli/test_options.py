"""The commands and their options: a new flag is a decision."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from sftlens import __version__
from sftlens.cli import complete_app

# A change of this list is a change of the contract with the users.
OPTIONS = {
    "": "--version",
    "advise": (
        "BASE FACTS --out --mastery --pilot --budget --size --learning-rate --batch-size "
        "--num-epochs --gradient-checkpointing --max-new-tokens --matching --seed --json"
    ),
    "demo": "--out --quick --json",
    "diff": "BASE TUNED --region --layers --out --json",
    "divergence": "BASE TUNED FACTS --mastery --out --json",
    "facts": (
        "FACTS --topics --aliases --column --split --domain --topic --echoed --limit --seed --out "
        "--export --json"
    ),
    "pretrain": (
        "FACTS --out --topics --exposure --exposure-skew --preset --num-epochs --batch-size "
        "--learning-rate --seed --json"
    ),
    "probe": (
        "BASE FACTS --out --num-templates --num-samples --temperature --max-new-tokens "
        "--matching --prompting --num-shots --categories --seed --topics --ledger --whole "
        "--endpoint --endpoint-model --concurrency --patience --json"
    ),
    "repair": (
        "BASE TUNED FACTS --out --mastery --keep --budget --method --max-task-loss "
        "--max-new-tokens --matching --dtype --seed --json"
    ),
    "report": "RUN... --out --json",
    "restore": (
        "BASE TUNED --share --out --method --order --region --layers --seed --dtype --dry-run "
        "--json"
    ),
    "score": ("MODEL FACTS --mastery --out --split --reference --max-new-tokens --matching --json"),
    "study": "",
    "study plan": "STUDY.yaml --rates --calibrate --json",
    "study run": "STUDY.yaml --out --workers --cluster --json",
    "tune": (
        "BASE FACTS --mastery --out --level --size --learning-rate --batch-size --num-epochs "
        "--gradient-checkpointing --method --strength --region --rank --seed --json"
    ),
    "world": "--out --num-facts-in --num-facts-out --seed --json",
}

NO_HEAVY_LIBRARY = """
import json, sys
import sftlens
from sftlens.cli import main
for command in sys.argv[1].split(","):
    sys.argv = ["sftlens", *command.split(), "--help"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
heavy = {"torch", "transformers", "trl", "datasets", "accelerate", "tokenizers", "plotly", "scipy"}
sys.stderr.write(json.dumps(sorted(heavy & set(sys.modules))))
"""


def commands_of(command: Any, name: str = "") -> dict[str, Any]:
    """A command with those below it, by the words that call them."""
    found = {name: command}
    for word, below in getattr(command, "commands", {}).items():
        found |= commands_of(below, f"{name} {word}".strip())
    return found


def test_no_new_flags() -> None:
    root = typer.main.get_command(complete_app())
    found = commands_of(root)
    told = {
        name: " ".join(
            parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
            for parameter in command.params
            if parameter.name != "help"
        )
        for name, command in found.items()
    }
    assert told == OPTIONS


@pytest.mark.parametrize("name", OPTIONS)
def test_no_second_names(name: str) -> None:
    command = commands_of(typer.main.get_command(complete_app()))[name]
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert len(parameter.opts) == 1
            assert not parameter.secondary_opts
            assert parameter.help


def test_help_loads_no_heavy_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_HEAVY_LIBRARY, ",".join(OPTIONS)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stderr) == []
    for name in OPTIONS:
        assert f"Usage: sftlens {name}".strip() in done.stdout


def test_the_installed_command_and_the_module() -> None:
    script = Path(sys.executable).with_name("sftlens")
    for command in ([script], [sys.executable, "-m", "sftlens"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (f"{__version__}\n", "")
