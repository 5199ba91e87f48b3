"""What a server ignores is found out, and worked around, told or refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from completions_server import CompletionsServer, Fault
from sftlens.errors import UserError
from sftlens.generation import Decoding, EndpointGenerator
from sftlens.generation._endpoint_answers import read_texts
from sftlens.generation._endpoint_capabilities import Capabilities

GREEDY = Decoding(max_new_tokens=5)
SAMPLED = Decoding(num_samples=3, temperature=0.7, max_new_tokens=5)
ALL = Capabilities(
    n=3,
    greedy=True,
    samples=True,
    seed=True,
    echo=False,
    leading_space=True,
    continues=True,
    style="all",
)
FILTERS = {"top_k", "min_p", "repetition_penalty"}
SEVEN = Decoding(num_samples=7, temperature=0.7, max_new_tokens=5)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@contextmanager
def served(**flags: Any) -> Iterator[tuple[CompletionsServer, EndpointGenerator]]:
    server = CompletionsServer(**flags)
    try:
        yield server, EndpointGenerator(server.url, max_retries=0)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("flags", "decoding", "expected", "note"),
    [
        ({}, SAMPLED, ALL, None),
        ({}, GREEDY, ALL._replace(n=None, samples=None, seed=None), None),
        ({"tells_usage": False}, SAMPLED, ALL, None),
        ({}, SAMPLED.model_copy(update={"num_samples": 1}), ALL._replace(n=None), None),
        ({"heeds_n": False}, SAMPLED, ALL._replace(n=1), "one text a request"),
        ({"refuses": {"n"}}, SAMPLED, ALL._replace(n=1), "one text a request"),
        ({"most_texts": 2}, SAMPLED, ALL._replace(n=2), "at most 2 texts a request"),
        ({"most_texts": 4}, SEVEN, ALL._replace(n=4), "7 samples are 2 requests"),
        (
            {"most_texts": 4, "names_most_texts": False},
            SEVEN,
            ALL._replace(n=4),
            "7 samples are 2 requests",
        ),
        ({"most_texts": 1}, SEVEN, ALL._replace(n=1), "one text a request"),
        ({"num_first_tokens": 2}, SAMPLED, ALL, None),
        ({"num_first_tokens": 0}, SAMPLED, ALL, None),
        ({"tells_prompt_tokens": False}, SAMPLED, ALL, None),
        (
            {"tells_prompt_tokens": False, "num_template_tokens": 9},
            SAMPLED,
            ALL._replace(continues=False),
            "if it puts prompts into a chat template",
        ),
        (
            {"heeds_filters": False},
            SAMPLED,
            ALL._replace(ignored=("top_k", "min_p")),
            "ignores top_k and min_p",
        ),
        (
            {"heeds_filters": False, "refuses": FILTERS},
            SAMPLED,
            ALL._replace(style="openai"),
            "repetition_penalty: those",
        ),
        ({"heeds_seed": False}, SAMPLED, ALL._replace(seed=False), "for the same seed"),
        (
            {"greedy": False},
            SAMPLED,
            ALL._replace(greedy=False, seed=False, continues=None),
            "samples at temperature 0 too",
        ),
        ({"echo": True}, SAMPLED, ALL._replace(echo=True), "repeats the prompt"),
        ({"echo": True, "tells_usage": False}, SAMPLED, ALL._replace(echo=True), "repeats"),
        ({"space": ""}, SAMPLED, ALL._replace(leading_space=False), "takes off the space"),
        ({"refuses": {"mirostat"}}, SAMPLED, ALL._replace(style="filters"), None),
        (
            {"refuses": FILTERS},
            SAMPLED,
            ALL._replace(style="generation_config"),
            "a generation config is sent",
        ),
        (
            {"refuses": FILTERS},
            GREEDY,
            ALL._replace(n=None, samples=None, seed=None, style="openai"),
            "repetition_penalty: those",
        ),
        (
            {"refuses": {*FILTERS, "generation_config"}},
            SAMPLED,
            ALL._replace(style="openai"),
            "repetition_penalty: those",
        ),
        (
            {"refuses": {*FILTERS, "generation_config", "top_p"}},
            SAMPLED,
            ALL._replace(style="none"),
            "and top_p: those",
        ),
    ],
)
def test_what_is_found(
    flags: dict[str, Any], decoding: Decoding, expected: Capabilities, note: str | None
) -> None:
    with served(**flags) as (server, generator):
        assert generator.capabilities(decoding) == expected
        num_requests = len(server.requests)
        assert num_requests <= 26
        assert len(generator.notes) >= (note is not None)
        assert (note or "") in " ".join(generator.notes)
        assert note or not generator.notes
        (completed,) = [own for batch in generator.complete(["a b"], decoding) for own in batch]
        assert generator.capabilities(decoding) == expected
    num_samples = decoding.num_samples
    own = sorted(body.get("n", 1) for body in server.requests[num_requests:])
    size = (expected.n or 1) if decoding.temperature > 0 else 1
    assert own == [num_samples % size] * (num_samples % size > 0) + [size] * (num_samples // size)
    assert len(set(completed.texts)) == num_samples
    for text in completed.texts:
        assert len(text.split()) == 5
        assert text.startswith(" ") == bool(expected.leading_space)


@pytest.mark.parametrize(
    ("flags", "decoding", "said"),
    [
        ({"greedy": False}, GREEDY, "otherwise each time at temperature 0; start the server anew"),
        ({"samples": False}, SAMPLED, "the same text for every sample at temperature 0.7; start"),
        ({"samples": False, "heeds_n": False}, SAMPLED, "do_sample true"),
        (
            {"samples": False},
            SAMPLED.model_copy(update={"num_samples": 1}),
            "the same text for every sample",
        ),
        ({"refuses": FILTERS, "greedy": False}, SAMPLED, "anew without continuous batching"),
        ({"heeds_max_tokens": False}, GREEDY, "more than the max_tokens"),
        ({"heeds_max_tokens": False, "tells_usage": False}, SAMPLED, "more than the max_tokens"),
        ({"heeds_max_tokens": False, "echo": True}, SAMPLED, "more than the max_tokens"),
        ({"refuses": {"prompt"}}, GREEDY, "422 Unexpected fields"),
        ({"num_template_tokens": 3}, GREEDY, "counts 5 tokens in the prompt 'a': it puts prompts"),
        ({"num_template_tokens": 24, "echo": True}, SAMPLED, "not completed; use a server that"),
        (
            {"num_template_tokens": 24, "tells_usage": False, "space": ""},
            GREEDY,
            "begins without a space: it puts prompts into a chat template",
        ),
    ],
)
def test_what_is_refused(flags: dict[str, Any], decoding: Decoding, said: str) -> None:
    with served(**flags) as (_, generator):
        for _ in range(2):
            with pytest.raises(UserError, match=said):
                generator.capabilities(decoding)
            with pytest.raises(UserError, match=said):
                list(generator.complete(["a"], decoding))


def test_every_filter_of_a_server_is_sent_as_off() -> None:
    with served() as (server, generator):
        list(generator.complete(["a b"], SAMPLED))
        body = server.requests[-1]
    off = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0}
    off |= {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    off |= {"top_n_sigma": -1.0, "xtc_probability": 0.0, "dry_multiplier": 0.0}
    off |= {"dynatemp_range": 0.0, "mirostat": 0}
    assert off.items() <= body.items()


def test_the_first_request_has_the_temperature_of_the_run() -> None:
    with served() as (server, generator):
        generator.capabilities(SAMPLED)
        assert server.requests[0]["temperature"] == 0.7


def test_an_echo_in_other_characters_is_no_text() -> None:
    with served(echo=True) as (server, generator):
        generator.capabilities(GREEDY)
        other = {"choices": [{"index": 0, "text": "Cafe\u0301 is in Paris"}]}
        server.faults.append(Fault(body=lambda _: other))
        with pytest.raises(UserError, match="repeats the prompt 'Café is' in other characters"):
            list(generator.complete(["Caf\u00e9 is"], GREEDY))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "text", "index", "usage", "completion_tokens", "model", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(JSON, st.sampled_from([None, 1, 2]))
def test_answers_of_any_form(answer: Any, num_texts: int | None) -> None:
    try:
        found = read_texts(answer, num_texts)
    except ValueError:
        return
    assert len(found.texts) == num_texts or num_texts is None
    assert all(isinstance(text, str) for text in found.texts)


def test_texts_stand_in_the_order_of_their_index() -> None:
    choices = [{"text": text, "index": index} for text, index in [("c", 2), ("a", 0), ("b", 1)]]
    assert read_texts({"choices": choices}, 3).texts == ["a", "b", "c"]
    for choice in choices:
        del choice["index"]
    assert read_texts({"choices": choices}, 3).texts == ["c", "a", "b"]


def test_half_a_character_does_not_reach_a_table() -> None:
    ((text,), *_) = read_texts({"choices": [{"text": "a\ud83d"}]}, 1)
    assert text == "a?"
