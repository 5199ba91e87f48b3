"""Completions from ``transformers serve``, a real server in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers.utils.import_utils import is_serve_available

from sftlens.generation import Decoding, EndpointGenerator, TransformersGenerator
from sftlens.generation._endpoint_api import Clock

pytestmark = pytest.mark.skipif(
    not is_serve_available(), reason="transformers serve needs pip install 'transformers[serving]'"
)


class Impatient(Clock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.2))


@pytest.fixture
def start(base: Path, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the server, at the same address each time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "transformers.cli.transformers", "serve", str(base)),
        *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu"),
    ]
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    started = []

    def start_server() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(process)
        return process

    start_server.url = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
    yield start_server
    for process in started:
        process.kill()
        process.wait()


def test_a_server_that_is_killed_half_way_and_started_again(
    start: Callable[[], subprocess.Popen[bytes]],
    base: Path,
    generator: TransformersGenerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    prompts = [f"The subject number {number} was born in" for number in range(150)]
    greedy = Decoding(max_new_tokens=6)
    expected = {
        own.place: own.texts for batch in generator.complete(prompts, greedy) for own in batch
    }
    server = EndpointGenerator(
        start.url,  # type: ignore[attr-defined]
        str(base),
        concurrency=4,
        patience=120.0,
        clock=Impatient(),
    )
    process = start()
    completed = []
    num_before = 0
    for batch in server.complete(prompts, greedy):
        completed += batch
        if not num_before:
            num_before = len(completed)
            process.kill()
            process.wait()
            start()
    assert num_before < len(prompts)
    assert sorted(own.place for own in completed) == list(range(len(prompts)))
    assert {own.place: own.texts for own in completed} == expected

    sampled = Decoding(num_samples=4, temperature=3, max_new_tokens=6)
    found = server.capabilities(sampled)
    assert (found.n, found.greedy, found.samples, found.echo) == (1, True, True, False)
    assert found.continues is not False  # no template stands between
    assert found.style == "generation_config"  # the model's own does not sample
    texts = [own.texts for batch in server.complete(prompts[:5], sampled) for own in batch]
    assert [len(own) for own in texts] == [4] * 5
    assert len({text for own in texts for text in own}) > 10  # at this temperature hardly one twice
    assert server.identity() == {"name": str(base)}
