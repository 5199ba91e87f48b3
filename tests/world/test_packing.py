"""Packing: every text whole and in its turn, whatever it holds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from sftlens.world import train_tokenizer
from sftlens.world._packing import pack


def naive(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, length: int, num_passes: int, seed: int
) -> list[list[int]]:
    rng = random.Random(f"packing {seed}")
    tokenized = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]
    sequences = []
    for _ in range(num_passes):
        rng.shuffle(tokenized)
        stream = [token for ids in tokenized for token in ids]
        while len(stream) >= length:
            sequences.append(stream[:length])
            stream = stream[length:]
    return sequences


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
@pytest.mark.parametrize("length", [2, 16, 90])
def test_as_the_naive_way(length: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sftlens.world._packing._TEXTS_AT_ONCE", at_once)
    texts = ["", *(f"text number {number}" for number in range(30))]
    tokenizer = train_tokenizer(texts, 300)
    packed = pack(texts, tokenizer, sequence_length=length, num_passes=2, seed=5)
    expected = naive(texts, tokenizer, length, 2, 5)
    assert len(packed) == len(expected) > 0
    assert packed.tokens.tolist() == expected
    assert expected != naive(texts, tokenizer, length, 2, 6)


def test_texts_are_packed_whole_and_shuffled_anew() -> None:
    texts = [f"text number {number}" for number in range(30)]
    tokenizer = train_tokenizer(texts, 300)
    packed = pack(texts, tokenizer, sequence_length=16, num_passes=2, seed=0)
    for item in packed:
        assert item["input_ids"].dtype == item["labels"].dtype == np.int64
        assert item["input_ids"].shape == (16,)
        assert (item["input_ids"] == item["labels"]).all()
    first, second = np.split(packed.tokens, 2)
    told = tokenizer.decode(first.reshape(-1)).replace("<s>", "").split("</s>")
    assert sorted(told[:-1]) == sorted(set(told[:-1]))
    assert set(told[:-1]) <= set(texts)
    assert told[:-1] != sorted(told[:-1], key=texts.index)
    assert (first != second).any()


def test_no_text_ends_another() -> None:
    texts = ["<s>a</s> b", "c <pad></s>"]
    tokenizer = train_tokenizer(texts, 300)
    packed = pack(texts, tokenizer, sequence_length=2, num_passes=1, seed=0)
    special = np.isin(packed.tokens, tokenizer.all_special_ids).sum()
    assert special in (3, 4)  # BOS and EOS of both; the last may fill no sequence
    for text in texts:
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_nothing_to_pack() -> None:
    tokenizer = train_tokenizer(["a text"], 300)
    for texts in ([], ["a"]):
        packed = pack(texts, tokenizer, sequence_length=64, num_passes=3, seed=0)
        assert len(packed) == 0
