"""What the shared world and models are made of, and stand-ins for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sftlens.facts import Fact
from sftlens.generation import Completed, Decoding
from sftlens.mastery import ProbeSettings
from sftlens.world import PRESETS, WorldSettings, write_world

WORLD = WorldSettings(num_facts_in=10, num_facts_out=3, exposures=(0, 2, 12))
PROBE = ProbeSettings(num_templates=2, num_samples=4, max_new_tokens=8)


def tiny_world(folder: Path) -> Path:
    write_world(folder, WORLD)
    return folder


@contextmanager
def small_preset() -> Iterator[None]:
    """Make the preset ``tiny`` smaller still, 0.2 M parameters, for a block."""
    shape = PRESETS["tiny"]._replace(
        vocab_size=1024, hidden_size=64, num_layers=2, num_heads=2, intermediate_size=128
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", shape)
        yield


def make_fact(fact_id: str = "f", *answers: str, **changes: str) -> Fact:
    """A fact of topic P19, in-domain, of the train split, where ``changes`` say nothing else."""
    subject = changes.pop("subject", f"Subject {fact_id}")
    fields = {
        "topic": "P19",
        "question": f"Where was {subject} born?",
        "split": "train",
        "domain": "in",
        **changes,
    }
    return Fact(fact_id=fact_id, subject=subject, answers=answers or ("Paris",), **fields)


class ScriptedGenerator:
    """Completes a prompt by what ``script`` says, two prompts a batch, the last prompts first."""

    def __init__(self, script: Callable[[str, int], str], *, fails_after: int | None = None):
        self.script = script
        self.fails_after = fails_after
        self.num_prompts = 0
        self.made: list[tuple[str, int]] = []

    def complete(
        self,
        prompts: Sequence[str],
        decoding: Decoding,
        *,
        samples: Sequence[Sequence[int]] | None = None,
        settled: Callable[[int, str], bool] | None = None,
    ) -> Iterator[list[Completed]]:
        numbers = samples or [range(decoding.num_samples) for _ in prompts]
        places = list(reversed(range(len(prompts))))
        for start in range(0, len(places), 2):
            batch = places[start : start + 2]
            self.num_prompts += len(batch)
            if self.fails_after is not None and self.num_prompts > self.fails_after:
                raise RuntimeError("the generator fails")
            yield [
                self._completed(place, prompts[place], numbers[place], settled) for place in batch
            ]

    def _completed(
        self,
        place: int,
        prompt: str,
        samples: Sequence[int],
        settled: Callable[[int, str], bool] | None,
    ) -> Completed:
        texts, cuts = [], []
        for sample in samples:
            self.made.append((prompt, sample))
            text = self.script(prompt, sample)
            ends = range(1, len(text)) if settled else ()
            end = next((end for end in ends if settled and settled(place, text[:end])), None)
            texts.append(text[:end])
            cuts.append(end is not None)
        return Completed(place, texts, cuts)
