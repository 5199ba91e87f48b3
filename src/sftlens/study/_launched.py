"""The training of a study's run by other processes: several, started by ``accelerate launch``, or
one for LoRA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sftlens.errors import UserError
from sftlens.facts import Fact, facts_from_file, facts_table
from sftlens.outputs import new_file
from sftlens.study._runner import visible_devices
from sftlens.team import Team
from sftlens.tuning import LoraSettings, Tuned, TuneSettings, fine_tune, load_to_train

_HERE = "sftlens.study._launched"
_SAID = "sftlens: "  # what a refused process begins its line with
_FACTS, _JOB, _RESULT = "facts.parquet", "training.json", "trained.json"


def launched_training(
    launch: Path,
    base: Path,
    facts: Sequence[Fact],
    out: Path,
    settings: TuneSettings,
    work: Path,
    *,
    lora: LoraSettings | None = None,
) -> Tuned:
    """Do what :func:`sftlens.tuning.fine_tune` does, by the processes of a configuration.

    An adapter is trained by one process without the launcher, which sees one GPU: the base stays as
    it is stored, and many a GPU holds it so that cannot train all weights. What the processes say
    goes to standard error.

    Args:
        launch: the configuration of ``accelerate launch``.
        base: folder of the base model.
        facts: the training facts.
        out: an existing folder that takes the model's files.
        settings: see :class:`TuneSettings`.
        work: an existing folder for what the processes are told and tell; left as it was.
        lora: train an adapter of this kind instead of all weights.

    Raises:
        UserError: when the processes fail; the message is the last that they said.
    """
    job, result = work / _JOB, work / _RESULT
    facts_table(facts).write_parquet(work / _FACTS)
    told = {
        "base": str(base),
        "facts": str(work / _FACTS),
        "out": str(out),
        "settings": settings.model_dump(mode="json"),
        "lora": None if lora is None else lora.model_dump(mode="json"),
        "result": str(result),
        "process": os.getpid(),
    }
    job.write_text(json.dumps(told), encoding="utf-8")
    _free_devices()
    command, environment = [sys.executable, "-m", _HERE, str(job)], dict(os.environ)
    if lora is None:
        launcher = ("-m", "accelerate.commands.accelerate_cli", "launch")
        command[1:3] = [*launcher, "--config_file", str(launch), "--module", _HERE]
    elif devices := visible_devices():
        environment["CUDA_VISIBLE_DEVICES"] = devices[0]
    said: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
            said.append(line.strip())
    if process.returncode or not result.is_file():
        name = "accelerate launch" if lora is None else "the process"
        raise UserError(f"{_reason(said)} ({name} ended with {process.returncode})")
    tuned = Tuned(**json.loads(result.read_text(encoding="utf-8")))
    for path in (job, result, work / _FACTS):
        path.unlink()
    return tuned


def _reason(said: Sequence[str]) -> str:
    """What a process was refused for; where none was, the last line that names an error."""
    lines = [line for line in said if line.strip("=- ")]
    refused = [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]
    errors = [line for line in lines if "Error: " in line and "ChildFailedError" not in line]
    return (refused or errors or lines or ["the processes said nothing"])[-1]


def _free_devices() -> None:
    """Give back the memory that this process keeps on the GPUs for later."""
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _train(job: dict[str, Any]) -> None:
    team = Team.of_environment()
    threading.Thread(target=_end_with, args=(job["process"],), daemon=True).start()
    with team.agree():
        facts = facts_from_file(Path(job["facts"]), remedy="run the study again")
        loaded = load_to_train(Path(job["base"]))
    lora = None if job["lora"] is None else LoraSettings(**job["lora"])
    tuned = fine_tune(loaded, facts, Path(job["out"]), TuneSettings(**job["settings"]), lora=lora)
    if team.leads:
        with new_file(Path(job["result"])) as path:
            path.write_text(json.dumps(tuned._asdict()), encoding="utf-8")


def _end_with(process: int) -> None:
    """No training outlives the study that asked for it."""
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            os._exit(1)
        except PermissionError:
            pass
        time.sleep(1)


def _main() -> None:
    try:
        _train(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except UserError as error:
        sys.stderr.write(f"{_SAID}{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    _main()
