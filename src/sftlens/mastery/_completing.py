"""Making the completions that are not there yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import polars as pl

from sftlens.facts import Matching
from sftlens.generation import Decoding, Generator
from sftlens.mastery._judge import is_settled
from sftlens.mastery._ledger import LEDGER_SCHEMA, Entry, each_once
from sftlens.mastery._prompts import Asked
from sftlens.progress import Advance


class Store(Protocol):
    """Takes completions and gives them back; see :class:`sftlens.mastery.Ledger`."""

    def add(self, batch: Sequence[Entry]) -> None: ...

    def known(self, prompts: Iterable[str]) -> pl.DataFrame: ...

    def table(self, prompts: Iterable[str] | None = None) -> pl.DataFrame: ...


class Memory:
    """A store without a folder."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def add(self, batch: Sequence[Entry]) -> None:
        self._entries += batch

    def known(self, prompts: Iterable[str]) -> pl.DataFrame:
        return self.table(prompts)

    def table(self, prompts: Iterable[str] | None = None) -> pl.DataFrame:
        wanted = None if prompts is None else set(prompts)
        entries = [entry for entry in self._entries if wanted is None or entry.prompt in wanted]
        return each_once(pl.DataFrame(entries, schema=LEDGER_SCHEMA, orient="row"))


class Work(NamedTuple):
    """How completions are made, judged and shared among processes.

    Attributes:
        decoding: samples and sampling.
        matching: when a text holds an answer.
        cut: whether a text may end as soon as its outcome is settled.
        rank: number of this process.
        size: how many processes there are.
    """

    decoding: Decoding
    matching: Matching
    cut: bool
    rank: int = 0
    size: int = 1


def complete(
    generator: Generator,
    asked: Sequence[Asked],
    work: Work,
    store: Store,
    advance: Advance,
) -> None:
    """See that this process's part of the prompts has its completions in the store.

    A text that was cut when its outcome was settled, by answers that no longer count, is made
    again.

    Args:
        generator: the model.
        asked: the prompts; where several facts have the same prompt, the first counts.
        work: how.
        store: has some completions, and takes the others batch by batch.
        advance: told how many completions are done, those of other processes too.
    """
    by_prompt: dict[str, Asked] = {}
    for one in asked:
        by_prompt.setdefault(one.prompt, one)
    own = list(by_prompt)[work.rank :: work.size]
    every = range(work.decoding.num_samples)
    done: dict[str, set[int]] = {prompt: set() for prompt in own}
    for prompt, sample, text, cut in store.known(own).iter_rows():
        if not cut or is_settled(by_prompt[prompt], text, work.matching):
            done[prompt].add(sample)
    advance(work.size * sum(len(samples.intersection(every)) for samples in done.values()))
    prompts = [prompt for prompt in own if len(done[prompt].intersection(every)) < len(every)]
    if not prompts:
        return
    samples = [[sample for sample in every if sample not in done[prompt]] for prompt in prompts]

    def settled(place: int, text: str) -> bool:
        return is_settled(by_prompt[prompts[place]], text, work.matching)

    for batch in generator.complete(
        prompts, work.decoding, samples=samples, settled=settled if work.cut else None
    ):
        entries = [
            Entry(prompts[place], sample, text, cut)
            for place, texts, cuts in batch
            for sample, text, cut in zip(samples[place], texts, cuts, strict=True)
        ]
        store.add(entries)
        advance(work.size * len(entries))
