"""What the user can mend: exit 2, one line, and nothing half-written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from calls import Call
from transformers import LlamaConfig, LlamaForCausalLM

from damaged_models import damaged
from tiny_world import small_preset

PROBED = ("--num-templates", 1, "--num-samples", 1, "--max-new-tokens", 2)


class Inputs:
    """Inputs that are as they should be, and a place for the output."""

    def __init__(self, base: Path, tuned: Path, world: Path, mastery: Path, tmp_path: Path) -> None:
        self.base, self.tuned, self.world, self.mastery = base, tuned, world, mastery
        self.tmp_path = tmp_path
        self.place = tmp_path / "place"
        self.place.mkdir()
        self.out = self.place / "out"

    def file(self, name: str, content: str) -> Path:
        (self.tmp_path / name).write_text(content)
        return self.tmp_path / name

    def command(self, name: str, **changes: object) -> tuple[object, ...]:
        """A command whose inputs are right but for the changes."""
        given = {
            "base": self.base,
            "tuned": self.tuned,
            "facts": self.world,
            "mastery": self.mastery,
            "level": 0,
            **changes,
        }
        base, tuned, facts = given["base"], given["tuned"], given["facts"]
        mastery = ("--mastery", given["mastery"])
        out = ("--out", given.get("out", self.out))
        return {
            "facts": ("facts", facts),
            "world": ("world", "--num-facts-in", 10, "--num-facts-out", 3, *out),
            "pretrain": ("pretrain", facts, "--num-epochs", 1, *out),
            "probe": ("probe", base, facts, *out, *PROBED),
            "tune": ("tune", base, facts, *mastery, "--level", given["level"], *out),
            "score": ("score", base, facts, *mastery, *out),
            "divergence": ("divergence", base, tuned, facts, *mastery, *out),
            "diff": ("diff", base, tuned, *out),
            "restore": ("restore", base, tuned, "--share", 20, *out),
            "advise": ("advise", base, facts, *mastery, *out),
            "repair": ("repair", base, tuned, facts, *mastery, *out),
            "demo": ("demo", "--quick", *out),
        }[name]


@pytest.fixture
def inputs(base: Path, tuned: Path, world: Path, mastery_folder: Path, tmp_path: Path) -> Inputs:
    return Inputs(base, tuned, world, mastery_folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("facts", "facts"),
        ("pretrain", "facts"),
        ("probe", "base"),
        ("probe", "facts"),
        ("tune", "base"),
        ("tune", "mastery"),
        ("score", "base"),
        ("score", "facts"),
        ("score", "mastery"),
        ("divergence", "tuned"),
        ("divergence", "mastery"),
        ("diff", "base"),
        ("restore", "tuned"),
    ],
)
def test_a_missing_path(sftlens: Call, inputs: Inputs, name: str, absent: str) -> None:
    path = inputs.tmp_path / "nowhere" / "absent"
    refusal = sftlens(*inputs.command(name, **{absent: path})).refusal
    assert str(path) in refusal
    assert list(inputs.place.iterdir()) == []


@pytest.mark.parametrize("name", ["facts", "pretrain", "probe", "tune", "score", "divergence"])
@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("facts.jsonl", "", "holds no facts"),
        ("facts.csv", "topic,subject,question,answers\nP19,A,A?,Paris\nP19,B\n", "line 3"),
        ("facts.csv", "topic,subject,question\nP19,A,A?\n", "column answers is missing"),
        ("facts.jsonl", '{"topic": "P19"}\n', "line 1: column question, answers"),
        ("facts.parquet", "no Parquet", "cannot be read as Parquet"),
    ],
)
def test_unusable_facts(
    sftlens: Call, inputs: Inputs, name: str, file: str, content: str, told: str
) -> None:
    path = inputs.file(file, content)
    refusal = sftlens(*inputs.command(name, facts=path)).refusal
    assert str(path) in refusal
    assert told in refusal
    assert list(inputs.place.iterdir()) == []


@pytest.mark.parametrize("name", ["tune", "pretrain"])
def test_training_that_diverges(sftlens: Call, inputs: Inputs, name: str) -> None:
    with small_preset():
        call = sftlens(*inputs.command(name), "--learning-rate", 1e30, "--json")
    assert (call.code, call.out) == (2, "")
    assert "lower the learning rate" in call.err.splitlines()[-1]
    assert not inputs.out.exists()


def test_a_world_is_told_already(sftlens: Call, inputs: Inputs) -> None:
    for flag in ("--exposure", "--exposure-skew"):
        refusal = sftlens(*inputs.command("pretrain"), flag, 2).refusal
        assert f"{inputs.world}: has a corpus" in refusal
    topics = inputs.file("own.yaml", 'aunt: {question: "{subject}?", templates: ["{subject} is"]}')
    assert "has a corpus" in sftlens(*inputs.command("pretrain"), "--topics", topics).refusal
    assert list(inputs.place.iterdir()) == []


def test_facts_that_are_never_told(sftlens: Call, inputs: Inputs, asked: Path) -> None:
    refusal = sftlens(*inputs.command("pretrain", facts=asked), "--exposure", 0).refusal
    assert f"{asked}: its corpus fills no sequence" in refusal
    assert list(inputs.place.iterdir()) == []


def test_no_facts_of_the_level(sftlens: Call, inputs: Inputs, asked: Path) -> None:
    refusal = sftlens(*inputs.command("tune", facts=asked, level=3)).refusal
    assert "no in-domain fact of the train split has level 3" in refusal
    assert list(inputs.place.iterdir()) == []


OF_LEVELS = ["tune", "score", "divergence", "advise", "repair"]


def other_facts(fact_id: str = "") -> str:
    """Facts of all splits that no test probed, with ids of their own or made of the question."""
    rows = [
        f"{fact_id.format(number)},P19,Who{number},Where was Who{number} born?,X,{split}"
        for number, split in enumerate(["train", "validation", "test"] * 10)
    ]
    return "\n".join(["fact_id,topic,subject,question,answers,split", *rows]) + "\n"


@pytest.mark.parametrize("name", OF_LEVELS)
def test_levels_of_other_facts(sftlens: Call, inputs: Inputs, name: str) -> None:
    path = inputs.file("others.csv", other_facts())
    refusal = sftlens(*inputs.command(name, facts=path)).refusal
    number = {"repair": 20}.get(name, 10)
    assert f"{inputs.mastery}: knows none of the {number} facts of {path}" in refusal
    assert list(inputs.place.iterdir()) == []


@pytest.mark.parametrize("name", OF_LEVELS)
def test_ids_that_are_other_facts_there(sftlens: Call, inputs: Inputs, name: str) -> None:
    path = inputs.file("others.csv", other_facts("P19-{:04d}"))
    call = sftlens(*inputs.command(name, facts=path))
    assert call.code == 2
    assert "is another fact there" in call.err.splitlines()[-1]
    assert list(inputs.place.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("probe", "--num-samples", 5_000_000_000), "num_samples: 5000000000 is refused"),
        (("probe", "--patience", "nan"), "--patience"),
        (("probe", "--patience", "inf"), "--patience"),
        (("probe", "--concurrency", 5_000_000_000), "--concurrency"),
        (("tune", "--batch-size", 5_000_000_000), "batch_size: 5000000000 is refused"),
        (("world", "--num-facts-in", 5_000_000_000), "num_facts_in: 5000000000 is refused"),
        (("pretrain", "--num-epochs", 5_000_000_000), "num_epochs: 5000000000 is refused"),
        (("restore", "--seed", 10**30), "--seed"),
    ],
)
def test_numbers_without_a_bound(
    sftlens: Call, inputs: Inputs, flags: tuple[object, ...], message: str
) -> None:
    name, *given = flags
    assert message in sftlens(*inputs.command(str(name)), *given).refusal
    assert list(inputs.place.iterdir()) == []


def test_memory_that_runs_out(
    sftlens: Call, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("sftlens.cli.world.write_world", fails)
    assert "does not fit into memory" in sftlens(*inputs.command("world")).refusal


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(("probe", "base"), ("tune", "base"), ("score", "base"), ("divergence", "base")),
        *(("divergence", "tuned"), ("diff", "base"), ("restore", "tuned")),
    ],
)
@pytest.mark.parametrize(
    "damage", ["no config", "no weights", "pickled", "truncated", "a shard is missing"]
)
def test_a_folder_that_is_no_model(
    sftlens: Call, inputs: Inputs, name: str, role: str, damage: str
) -> None:
    model = damaged(getattr(inputs, role), inputs.tmp_path / "model", damage)
    refusal = sftlens(*inputs.command(name, **{role: model})).refusal
    assert str(model) in refusal
    assert list(inputs.place.iterdir()) == []


@pytest.mark.parametrize("name", ["score", "divergence", "diff", "restore"])
def test_nan_in_the_weights(sftlens: Call, inputs: Inputs, name: str, asked: Path) -> None:
    role = "base" if name == "score" else "tuned"
    model = damaged(getattr(inputs, role), inputs.tmp_path / "model", "NaN in a block")
    refusal = sftlens(*inputs.command(name, facts=asked, **{role: model})).refusal
    assert "model.layers.1.mlp.up_proj.weight" in refusal
    assert "holds nan" in refusal.lower()
    assert list(inputs.place.iterdir()) == []


@pytest.mark.parametrize("name", ["diff", "restore"])
def test_models_of_different_architecture(sftlens: Call, inputs: Inputs, name: str) -> None:
    config = LlamaConfig.from_pretrained(inputs.base, num_hidden_layers=3)
    deeper = inputs.tmp_path / "deeper"
    LlamaForCausalLM(config).save_pretrained(deeper)
    refusal = sftlens(*inputs.command(name, tuned=deeper)).refusal
    assert "model.layers.2." in refusal
    config = LlamaConfig.from_pretrained(inputs.base, intermediate_size=96)
    wider = inputs.tmp_path / "wider"
    LlamaForCausalLM(config).save_pretrained(wider)
    refusal = sftlens(*inputs.command(name, tuned=wider)).refusal
    assert "model.layers.0.mlp." in refusal
    assert list(inputs.place.iterdir()) == []


WRITING = ["world", "probe", "tune", "score", "divergence", "diff", "restore"]
TABLES = "polars.DataFrame.write_parquet"


@pytest.mark.parametrize(
    ("name", "written_by"),
    [
        *((name, "os.fsync") for name in [*WRITING, "pretrain"]),
        *((name, TABLES) for name in WRITING if name != "restore"),
        ("tune", "transformers.PreTrainedModel.save_pretrained"),
        ("restore", "sftlens.weights._restore.ModelWriter.write"),
    ],
)
def test_a_full_disk(
    sftlens: Call,
    inputs: Inputs,
    asked: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    written_by: str,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file")

    monkeypatch.setattr(written_by, full)
    facts = inputs.world if name == "tune" else asked
    with small_preset():
        call = sftlens(*inputs.command(name, facts=facts), "--json")
    *progress, line = call.err.splitlines()
    assert (call.code, call.out) == (2, "")
    assert "the disk is full" in line
    assert all(" done in " in told for told in progress)
    # What can be gone on with is kept beside the output; nothing else is.
    left = [path.name for path in inputs.place.iterdir()]
    kept = name == "pretrain" or (name, written_by) == ("probe", TABLES)
    assert len(left) == kept
    assert all(path.startswith(f".out.{name}-") for path in left)


@pytest.mark.parametrize("name", [*WRITING, "pretrain", "demo"])
def test_an_output_that_holds_something_else(
    sftlens: Call, inputs: Inputs, name: str, asked: Path
) -> None:
    inputs.out.mkdir()
    (inputs.out / "mine").write_text("mine")
    facts = inputs.world if name == "tune" else asked
    refusal = sftlens(*inputs.command(name, facts=facts)).refusal
    assert "holds something already" in refusal
    assert [path.name for path in inputs.out.iterdir()] == ["mine"]
    file = inputs.file("file", "mine")
    assert str(file) in sftlens(*inputs.command(name, facts=facts, out=file)).refusal
    below = file / "below"
    assert str(below) in sftlens(*inputs.command(name, facts=facts, out=below)).refusal
    assert file.read_text() == "mine"
    assert list(inputs.place.iterdir()) == [inputs.out]


def test_an_output_within_an_input(sftlens: Call, inputs: Inputs) -> None:
    before = sorted(inputs.tuned.rglob("*"))
    refusal = sftlens(*inputs.command("restore", out=inputs.tuned / "restored")).refusal
    assert "lies in the model folder" in refusal
    assert sorted(inputs.tuned.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "No such command"),
        (["facts"], "FACTS"),
        (["facts", "a.csv", "--nonsense"], "--nonsense"),
        (["probe", "base", "facts", "--out", "o", "--num-samples", "0"], "num_samples: 0"),
        (["probe", "base", "facts", "--out", "o", "--temperature", "-1"], "temperature: -1"),
        (["probe", "base", "facts", "--out", "o", "--temperature", "nan"], "temperature: nan"),
        (["probe", "base", "facts", "--out", "o", "--matching", "near"], "near"),
        (["tune", "b", "f", "--mastery", "m", "--level", "5", "--out", "o"], "level"),
        (["tune", "b", "f", "--level", "0", "--out", "o"], "--mastery"),
        (["advise", "b", "f", "--out", "o", "--budget", "5"], "budget is of the pilot"),
        (["advise", "b", "f", "--out", "o", "--pilot", "--budget", "3"], "budget: 3"),
        (["advise", "b", "f", "--out", "o", "--size", "0"], "sizes: "),
        (["advise", "b", "f", "--out", "o", "--learning-rate", "0"], "learning_rate: 0"),
        (["tune", "b", "f", "--mastery", "m", "--level", "0", "--size", "0", "--out", "o"], "size"),
        (["score", "m", "f", "--mastery", "m", "--out", "o", "--split", "dev"], "dev"),
        (["world", "--out", "o", "--num-facts-in", "9"], "num_facts_in: 9"),
        (["pretrain", "w", "--out", "o", "--preset", "huge"], "huge"),
        (["pretrain", "w", "--out", "o", "--learning-rate", "0"], "learning_rate: 0"),
        (["pretrain", "w", "--out", "o", "--learning-rate", "inf"], "learning_rate: inf"),
        (["pretrain", "w", "--out", "o", "--exposure", "-1"], "exposures.0: -1"),
        (["pretrain", "w", "--out", "o", "--exposure-skew", "nan"], "exposure_skew: nan"),
    ],
)
def test_unusable_flags(
    sftlens: Call,
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in sftlens(*arguments).refusal
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--share", 101], "101"),
        (["--share", -1], "-1"),
        (["--share", "nan"], "nan"),
        (["--share", 20, "--share", 20], "20"),
        (["--share", 20, "--method", "magic"], "magic"),
        (["--share", 20, "--order", "middle"], "middle"),
        (["--share", 20, "--region", "heads"], "heads"),
    ],
)
def test_unusable_restorations(
    sftlens: Call, inputs: Inputs, flags: list[object], told: str
) -> None:
    job = ("restore", inputs.base, inputs.tuned, "--out", inputs.out, *flags)
    assert told in sftlens(*job).refusal
    assert list(inputs.place.iterdir()) == []


def test_results_of_another_model(sftlens: Call, inputs: Inputs) -> None:
    for name in ("tune", "divergence"):
        refusal = sftlens(*inputs.command(name, base=inputs.tuned)).refusal
        assert "holds the mastery of another model" in refusal


@pytest.mark.parametrize("name", ["", "absent", "empty.csv"])
def test_a_report_of_what_is_no_study_leaves_nothing(
    sftlens: Call, inputs: Inputs, name: str
) -> None:
    if name == "empty.csv":
        (inputs.place / name).touch()
    before = sorted(inputs.place.rglob("*"))
    assert "holds no manifest.json" in sftlens("report", inputs.place / name).refusal
    assert sorted(inputs.place.rglob("*")) == before


def test_ctrl_c(sftlens: Call, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sftlens.scoring._run.read_facts", interrupt)
    call = sftlens(*inputs.command("score"))
    assert (call.code, call.out) == (130, "")
    assert call.err == "interrupted; the same command goes on from what was finished\n"


def test_ctrl_c_that_a_library_makes_another_error(
    sftlens: Call, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As extension modules do that are being imported."""

    def interrupt(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr("sftlens.scoring._run.read_facts", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        call = sftlens(*inputs.command("score"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (call.code, call.out) == (130, "")
    assert call.err == "interrupted; the same command goes on from what was finished\n"


def test_ctrl_c_while_modules_are_loaded() -> None:
    code = """
import os, signal, sys
import sftlens.cli
class Interrupts:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
sys.argv = ["sftlens", "facts", "absent.csv"]
sftlens.cli.main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = (done.returncode, done.stdout, done.stderr)
    assert told == (130, "", "interrupted; nothing was begun\n")


def test_nowhere_to_print(inputs: Inputs) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no file that is always full")
    facts = inputs.file("facts.csv", "topic,question,answers\nP19,Where was A born?,Town\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sftlens", "facts", facts],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "sftlens: writing: No space left on device; free some space\n"


def test_our_own_bugs_are_no_refusals(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    from sftlens.cli import main

    def fail(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("sftlens.scoring._run.read_facts", fail)
    monkeypatch.setattr(sys, "argv", ["sftlens", *map(str, inputs.command("score"))])
    with pytest.raises(RuntimeError, match="a bug of ours"):
        main()


def test_a_refusal_of_the_installed_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("sftlens"), "facts", "absent.csv", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "sftlens: absent.csv: does not exist; give a facts file or a world folder\n"
    )
