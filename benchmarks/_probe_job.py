"""Sample completions with one engine, and print what came of it as JSON.

usage: python _probe_job.py '{"engine": "plain", …}'
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sftlens.facts import builtin_topics, matches, read_facts
from sftlens.generation import Decoding, LoadedModel, TransformersGenerator, load_model

Texts = dict[int, list[str]]  # by the prompt's place


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to complete, and how."""

    engine: str  # load, plain, shared or settled
    model: str
    facts: str
    num_prompts: int
    decoding: dict[str, Any]
    max_batch_tokens: int
    endless: bool  # whether no text ends before its last token, as a base model's hardly do
    device: str | None


class Forwards:
    """Time spent in a model's forward passes."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.seconds = 0.0
        self._on_cuda = next(model.parameters()).is_cuda
        self._begin = 0.0
        model.register_forward_pre_hook(self._begins)
        model.register_forward_hook(self._ended)

    def _begins(self, *_: object) -> None:
        self._wait()
        self._begin = time.perf_counter()

    def _ended(self, *_: object) -> None:
        self._wait()
        self.seconds += time.perf_counter() - self._begin

    def _wait(self) -> None:
        if self._on_cuda:
            torch.cuda.synchronize()


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    loaded = load_model(job.model, device=job.device)
    if job.engine == "load":
        print(json.dumps({}))
        return
    if job.endless:
        _never_end(loaded)
    prompts, answers = asked(Path(job.facts), job.num_prompts)
    decoding = Decoding(**job.decoding)
    complete = ENGINES[job.engine]
    complete(loaded, prompts[:4], answers, decoding, job.max_batch_tokens)  # warms up
    with _seconds() as took:
        texts = complete(loaded, prompts, answers, decoding, job.max_batch_tokens)
    # In a run of its own: on a GPU, timing single passes keeps it from working ahead.
    forwards = Forwards(loaded.model)
    with _seconds() as took_timed:
        complete(loaded, prompts, answers, decoding, job.max_batch_tokens)
    told = {
        "seconds": took[0],
        "share_in_forwards": forwards.seconds / took_timed[0],
        "hits": [
            [matches(text, answers[place]) for text in texts[place]]
            for place in range(len(prompts))
        ],
        "num_characters": sum(len(text) for own in texts.values() for text in own),
        "device_peak_bytes": torch.cuda.max_memory_allocated()
        if loaded.model.device.type == "cuda"
        else None,
    }
    print(json.dumps(told))


def asked(facts: Path, num_prompts: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """Prompts drawn from all facts and templates, and the accepted answers of each."""
    topics = builtin_topics()
    pairs = [
        (topics[fact.topic].prompt(number, fact.subject), fact.answers)
        for fact in read_facts(str(facts)).facts
        for number in range(len(topics[fact.topic].templates))
    ]
    random.Random(0).shuffle(pairs)
    chosen = pairs[:num_prompts]
    return [prompt for prompt, _ in chosen], [tuple(answers) for _, answers in chosen]


def plain(
    loaded: LoadedModel,
    prompts: list[str],
    _: list[tuple[str, ...]],
    decoding: Decoding,
    max_batch_tokens: int,
) -> Texts:
    """`model.generate` in left-padded batches of like length."""
    model, tokenizer = loaded.model, loaded.tokenizer
    lengths = [len(own) for own in tokenizer(prompts)["input_ids"]]
    waiting = sorted(range(len(prompts)), key=lengths.__getitem__, reverse=True)
    texts: Texts = {}
    torch.manual_seed(decoding.seed)
    while waiting:
        room = lengths[waiting[0]] + decoding.max_new_tokens
        size = max(1, max_batch_tokens // room // decoding.num_samples)
        batch, waiting = waiting[:size], waiting[size:]
        inputs = tokenizer(
            [prompts[place] for place in batch],
            return_tensors="pt",
            padding=True,
            padding_side="left",  # a text follows its prompt, whatever the tokenizer's own side
        ).to(model.device)
        with torch.inference_mode():
            output = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=True,
                temperature=decoding.temperature,
                top_k=0,
                top_p=1.0,
                num_return_sequences=decoding.num_samples,
                max_new_tokens=decoding.max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for number, place in enumerate(batch):
            start = number * decoding.num_samples
            texts[place] = new[start : start + decoding.num_samples]
    return texts


def _ours(*, ask: bool) -> Callable[..., Texts]:
    def complete(
        loaded: LoadedModel,
        prompts: list[str],
        answers: list[tuple[str, ...]],
        decoding: Decoding,
        max_batch_tokens: int,
    ) -> Texts:
        generator = TransformersGenerator(
            loaded.model, loaded.tokenizer, max_batch_tokens=max_batch_tokens
        )
        batches = generator.complete(
            prompts,
            decoding,
            settled=(lambda place, text: matches(text, answers[place])) if ask else None,
        )
        return {one.place: one.texts for batch in batches for one in batch}

    return complete


ENGINES = {"plain": plain, "shared": _ours(ask=False), "settled": _ours(ask=True)}


def _never_end(loaded: LoadedModel) -> None:
    """Make a token that no model draws the end of text; what ended a text is then one of many."""
    model, tokenizer, _ = loaded
    tokenizer.eos_token = tokenizer.pad_token
    model.generation_config.eos_token_id = tokenizer.pad_token_id


@contextmanager
def _seconds() -> Iterator[list[float]]:
    took: list[float] = []
    begin = time.perf_counter()
    yield took
    took.append(time.perf_counter() - begin)


if __name__ == "__main__":
    main()
