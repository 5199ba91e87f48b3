"""Completions from a server: every prompt is answered once, whatever the server does meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from completions_server import HANG_UP, CompletionsServer, Fault
from sftlens.errors import UserError
from sftlens.generation import Completed, Decoding, EndpointGenerator
from sftlens.generation._endpoint_api import Clock, _own_hosts

GREEDY = Decoding(max_new_tokens=5)
SAMPLED = Decoding(num_samples=3, temperature=0.7, max_new_tokens=5, seed=3)
PROMPTS = ["Ada was born in", "", "<b>{x}</b>\n\u202eשלום", "Ada was born in", "\U0001f600 \ud800"]
KEY = "sk-secret-0123456789"


class FakeClock(Clock):
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.time

    date = now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[..., CompletionsServer]]:
    servers = []

    def start(**flags: Any) -> CompletionsServer:
        servers.append(CompletionsServer(**flags))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def endpoint(server: CompletionsServer, **settings: Any) -> EndpointGenerator:
    return EndpointGenerator(server.url, **{"clock": FakeClock(), "concurrency": 3, **settings})


def armed(
    server: CompletionsServer, faults: Sequence[Fault | None], decoding: Decoding, **settings: Any
) -> tuple[EndpointGenerator, FakeClock]:
    """A generator that knows its server, before things go wrong."""
    clock = FakeClock()
    generator = endpoint(server, clock=clock, **settings)
    generator.capabilities(decoding)
    server.requests.clear()
    server.faults.extend(faults)
    return generator, clock


def texts(
    generator: EndpointGenerator,
    prompts: Sequence[str] = PROMPTS,
    decoding: Decoding = GREEDY,
    **settings: Any,
) -> list[list[str]]:
    completed = [
        own for batch in generator.complete(prompts, decoding, **settings) for own in batch
    ]
    assert sorted(own.place for own in completed) == list(range(len(prompts)))
    assert all(own.cut == [False] * len(own.texts) for own in completed)
    return [own.texts for own in sorted(completed)]


@pytest.mark.parametrize("concurrency", [1, 2, 64])
def test_greedy_texts_are_the_servers(
    serve: Callable[..., CompletionsServer], concurrency: int
) -> None:
    server = serve()
    generator = endpoint(server, concurrency=concurrency)
    found = texts(generator, decoding=GREEDY.model_copy(update={"num_samples": 2}))
    asked = [{"prompt": prompt, "temperature": 0.0, "max_tokens": 5} for prompt in PROMPTS]
    assert found == [[server.text(body)] * 2 for body in asked]
    assert generator.notes == []
    assert "n" not in {field for body in server.requests for field in body}


@pytest.mark.parametrize("heeds_n", [True, False])
def test_samples_depend_on_prompt_number_and_seed(
    serve: Callable[..., CompletionsServer], heeds_n: bool
) -> None:
    server = serve(heeds_n=heeds_n)
    generator, _ = armed(server, [], SAMPLED)
    found = texts(generator, decoding=SAMPLED)
    assert len(server.requests) == len(PROMPTS) * (1 if heeds_n else 3)
    assert len({text for own in found for text in own}) == 3 * len(set(PROMPTS))
    assert found[0] == found[3]  # the same prompt
    assert texts(endpoint(server), decoding=SAMPLED) == found
    assert texts(endpoint(server), PROMPTS[::-1], SAMPLED) == found[::-1]
    assert texts(endpoint(server), decoding=SAMPLED.model_copy(update={"seed": 4})) != found
    assert all(0 <= body["seed"] < 2**31 for body in server.requests if "seed" in body)


def test_a_samples_number_is_its_seed_where_each_is_a_request(
    serve: Callable[..., CompletionsServer],
) -> None:
    generator = endpoint(serve(heeds_n=False))
    found = texts(generator, decoding=SAMPLED)
    some = texts(generator, decoding=SAMPLED, samples=[[2], [], [0, 1], [1, 0, 2], []])
    assert some == [
        [found[0][2]],
        [],
        found[2][:2],
        [found[3][1], found[3][0], found[3][2]],
        [],
    ]


def test_any_number_of_samples_where_a_request_gives_several(
    serve: Callable[..., CompletionsServer],
) -> None:
    server = serve()
    generator, _ = armed(server, [], SAMPLED)
    samples = [[0, 1], [], [5], [2, 3, 4, 6], []]
    found = texts(generator, decoding=SAMPLED, samples=samples)
    assert [len(own) for own in found] == [2, 0, 1, 4, 0]
    assert sorted(body.get("n", 1) for body in server.requests) == [1, 1, 2, 3]
    later = texts(generator, decoding=SAMPLED, samples=[[2, 3], [], [], [], []])
    assert not set(later[0]) & set(found[0])


def test_nothing_is_asked_where_nothing_is_wanted(serve: Callable[..., CompletionsServer]) -> None:
    server = serve()
    assert texts(endpoint(server), []) == []
    assert texts(endpoint(server), ["a", "b"], samples=[[], []]) == [[], []]
    assert server.requests == []


def test_the_model_s_whole_distribution_is_asked_for(
    serve: Callable[..., CompletionsServer],
) -> None:
    server = serve()
    generator, _ = armed(server, [], SAMPLED)
    texts(generator, decoding=SAMPLED)
    for body in server.requests:
        assert (body["temperature"], body["top_p"], body["top_k"]) == (0.7, 1.0, -1)
        assert (body["min_p"], body["repetition_penalty"]) == (0.0, 1.0)


def no_choices(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "choices": []}


def one_more(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "choices": answer["choices"] * 2}


def no_string(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "choices": [{**choice, "text": None} for choice in answer["choices"]]}


def unfinished(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        **answer,
        "choices": [{**choice, "finish_reason": "abort"} for choice in answer["choices"]],
    }


FAULTS = {
    "busy": Fault(429),
    "timeout": Fault(408, body=b"<html>"),
    "error": Fault(500, body=b'{"error": {"message": "out of memory"}}'),
    "gateway": Fault(502),
    "loading": Fault(503, body=b'{"error": "loading"}'),
    "hang up": HANG_UP,
    "nothing": Fault(),
    "html": Fault(body=b"<html>hello</html>"),
    "binary": Fault(body=b"\xff\xfe\x00"),
    "nested": Fault(body=b"[" * 100_000),
    "list": Fault(body=b"[1]"),
    "null": Fault(body=b"null"),
    "cut off": Fault(headers={"X-Cut": "1"}, body=b'{"choices": [{"te'),
    "bad gzip": Fault(headers={"Content-Encoding": "gzip"}, body=b"no gzip"),
    "no choices": Fault(body=no_choices),
    "too many choices": Fault(body=one_more),
    "no string": Fault(body=no_string),
    "unfinished": Fault(body=unfinished),
}


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", FAULTS)
def test_every_prompt_is_answered_once_whatever_goes_wrong(
    serve: Callable[..., CompletionsServer], name: str, decoding: Decoding
) -> None:
    server = serve()
    expected = texts(endpoint(server), decoding=decoding)
    fault = FAULTS[name]
    generator, clock = armed(server, [fault, None, fault, fault, None, fault], decoding)
    assert texts(generator, decoding=decoding) == expected
    assert len(server.requests) == len(PROMPTS) + 4
    assert len(clock.sleeps) == 4
    assert all(0.25 <= seconds <= 4 for seconds in clock.sleeps)


def test_waiting_doubles_and_differs(serve: Callable[..., CompletionsServer]) -> None:
    server = serve()
    generator, clock = armed(server, [Fault(503)] * 10, GREEDY, concurrency=1)
    texts(generator, ["a"])
    ceilings = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    for seconds, ceiling in zip(clock.sleeps, ceilings, strict=True):
        assert ceiling / 2 <= seconds <= ceiling
    assert len(set(clock.sleeps[-4:])) == 4
    again, other = armed(server, [Fault(503)] * 10, GREEDY, concurrency=1)
    texts(again, ["a"])
    assert other.sleeps == clock.sleeps


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("41", 41.0),
        ("Mon, 12 Jan 1970 13:47:20 GMT", 40.0),  # 1,000,040 s
        ("Mon, 12 Jan 1970 13:46:00 GMT", None),  # has been
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("9" * 400, None),
    ],
)
def test_the_server_says_when_to_come_back(
    serve: Callable[..., CompletionsServer], value: str, seconds: float | None
) -> None:
    fault = Fault(429, headers={"Retry-After": value})
    generator, clock = armed(serve(), [fault], GREEDY)
    texts(generator, ["a"])
    (slept,) = clock.sleeps
    assert slept <= 0.5 if seconds is None else slept == seconds


def test_a_server_that_asks_for_more_than_the_patience(
    serve: Callable[..., CompletionsServer],
) -> None:
    fault = Fault(429, headers={"Retry-After": "700"}, body=b'{"error": "quota"}')
    generator, clock = armed(serve(), [fault], GREEDY)
    with pytest.raises(UserError, match=r"wait for 700 s \(429 quota\)"):
        texts(generator, ["a"])
    assert clock.sleeps == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(400, body=b'{"error": {"message": "too long:\\n 9 > 8"}}'), "400 too long: 9 > 8;"),
        (Fault(404, body=b'{"message": "no such model"}'), "no such model; look at the address"),
        (Fault(401, body=b'{"error": {"message": "wrong key ' + KEY.encode() + b'"}}'), "key ***;"),
        (Fault(422, body=b'{"detail": [{"msg": "n"}]}'), '422 [{"msg": "n"}]'),
        (Fault(418, body=b"\x1b[31m\xe2\x80\xae<b>\x00" + b"x" * 5000), "418 [31m <b> xxx"),
        (Fault(413), "413"),
    ],
)
def test_a_refused_request_is_told_in_one_line(
    serve: Callable[..., CompletionsServer], fault: Fault, said: str
) -> None:
    server = serve()
    generator, clock = armed(server, [None, fault], GREEDY, api_key=KEY, concurrency=1)
    completed: list[Completed] = []
    with pytest.raises(UserError) as refusal:
        completed.extend(
            own for batch in generator.complete(["a", "b", "c"], GREEDY) for own in batch
        )
    message = str(refusal.value)
    assert said in message
    assert message.startswith(server.url)
    assert KEY not in message
    assert message.isprintable()
    assert len(message) < 450
    assert clock.sleeps == []
    assert [own.place for own in completed] == [0]
    assert len(server.requests) == 2


def test_a_prompt_that_always_fails(serve: Callable[..., CompletionsServer]) -> None:
    server = serve()
    faults = [Fault(500, body=b"boom")] * 3
    generator, _ = armed(server, faults, GREEDY, max_retries=2)
    with pytest.raises(UserError, match=r"failed 3 times.*500 boom; see what the server's log"):
        texts(generator, ["a"])
    assert len(server.requests) == 3


def test_a_server_that_is_gone(
    serve: Callable[..., CompletionsServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    generator, clock = armed(server, [], GREEDY, patience=120.0, concurrency=1)
    start = clock.time
    completed = []

    def run() -> None:
        for batch in generator.complete([str(number) for number in range(500)], GREEDY):
            completed.extend(batch)
            server.close()

    with pytest.raises(UserError, match=r"no answer for 120 s .*start the server"):
        run()
    places = [own.place for own in completed]
    assert places == list(range(len(places)))
    assert 0 < len(places) < 500
    assert clock.time - start == pytest.approx(120, abs=1)
    assert len([record for record in caplog.records if "trying on for" in record.message]) == 1


def test_no_answer_in_time(serve: Callable[..., CompletionsServer]) -> None:
    server = serve()
    generator, clock = armed(server, [], GREEDY, timeout=0.3, concurrency=1)
    server.stall.set()
    found: list[list[list[str]]] = []
    thread = threading.Thread(target=lambda: found.append(texts(generator, ["a"])))
    thread.start()
    assert server.stalled.wait(10)
    while not clock.sleeps:  # the first try ran out of time
        thread.join(0.01)
    server.stall.clear()
    thread.join(20)
    assert found == [[[server.text({"prompt": "a", "temperature": 0, "max_tokens": 5})]]]


def test_leaving_the_iterator_leaves_the_server(serve: Callable[..., CompletionsServer]) -> None:
    server = serve()
    generator, _ = armed(server, [], GREEDY)
    completing = generator.complete([str(number) for number in range(100)], GREEDY)
    next(completing)
    server.stall.set()
    assert server.stalled.wait(10)
    completing.close()
    assert not any(thread.name == "endpoint" for thread in threading.enumerate())
    server.stall.clear()
    server.release.set()
    assert len(texts(generator, ["a"])) == 1
    # Of the hundred only those were asked that were under way.
    assert sum(request["prompt"] != "a" for request in server.requests) <= 2 * 16


def test_an_interrupt_is_heard_while_the_server_is_silent(
    serve: Callable[..., CompletionsServer],
) -> None:
    server = serve()
    generator, _ = armed(server, [], GREEDY)
    server.stall.set()

    def interrupt() -> None:
        if server.stalled.wait(10):
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        texts(generator, ["a"])
    assert not server.hung
    assert not any(thread.name == "endpoint" for thread in threading.enumerate())


def test_it_runs_where_an_event_loop_runs(serve: Callable[..., CompletionsServer]) -> None:
    generator = endpoint(serve())

    async def main() -> list[list[str]]:
        return texts(generator)

    assert asyncio.run(main()) == texts(generator)


def test_the_key_goes_to_the_named_host_alone(
    serve: Callable[..., CompletionsServer],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    server, other = serve(), serve()
    generator, _ = armed(server, [Fault(307, {"Location": f"{other.url}/v1?a=b"})], GREEDY)
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)
    with pytest.raises(UserError, match=f"redirects to {other.url}/v1,") as refusal:
        texts(generator, ["a"])
    assert other.headers == []
    shown = [str(refusal.value), caplog.text, repr(generator), json.dumps(generator.identity())]
    assert not any(KEY in text for text in [*shown, *generator.notes])


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def through_proxy(
    serve: Callable[..., CompletionsServer], monkeypatch: pytest.MonkeyPatch
) -> CompletionsServer:
    """A proxy that the environment names for every host."""
    proxy = serve()
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in PROXIES:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.lower(), proxy.url)
    return proxy


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_no_proxy_leads_to_this_machine(
    serve: Callable[..., CompletionsServer], through_proxy: CompletionsServer, host: str
) -> None:
    server = serve()
    port = server.url.rpartition(":")[2]
    generator = EndpointGenerator(f"http://{host}:{port}", max_retries=0, patience=0)
    with suppress(UserError):  # not every system has 127.0.0.2
        texts(generator, ["a"])
    assert through_proxy.headers == []
    assert server.headers or host == "127.0.0.2"


def test_the_environments_proxy_leads_elsewhere(through_proxy: CompletionsServer) -> None:
    generator = EndpointGenerator("http://models.invalid", api_key=KEY, max_retries=0)
    assert len(texts(generator, ["a"])) == 1
    assert {headers["Host"] for headers in through_proxy.headers} == {"models.invalid"}


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://127.0.0.1:8000/v1", ["127.0.0.1"]),
        ("https://[::1]:8000/v1", ["[::1]"]),
        ("http://0.0.0.0:8000/v1", ["0.0.0.0"]),
        ("http://model.localhost/v1", ["model.localhost"]),
        ("http://192.0.2.1/v1", []),
        ("http://localhost.example.org/v1", []),
    ],
)
def test_the_hosts_that_are_this_machine(url: str, hosts: list[str]) -> None:
    assert _own_hosts(url) == hosts
    for own in hosts:
        httpx2.Client(mounts={f"all://{own}": None}).close()  # the form that httpx2 takes


def test_another_model_half_way(serve: Callable[..., CompletionsServer]) -> None:
    server = serve()
    generator, _ = armed(server, [], GREEDY)
    texts(generator, ["a"])
    server.answers_as = "other\nmodel"
    with pytest.raises(UserError, match="another model answers, 'other model' in place of 'some/"):
        texts(generator, ["b"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a:80", "http://a:80/v1"),
        ("http://a:80/", "http://a:80/v1"),
        (" https://a/v1/ ", "https://a/v1"),
        ("https://a/team/v1/completions", "https://a/team/v1"),
        ("http://[::1]:80/x", "http://[::1]:80/x/v1"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert EndpointGenerator(url).url == expected


@pytest.mark.parametrize(
    "url",
    ["", "a:8000", "127.0.0.1:8000", "ftp://a", "http://", "http://a:99999", "http://a b", "http://a\n"
     "b", "http://u:secret@a", "http://a/v1?key=secret", "http://a/#secret"],
)  # fmt: skip
def test_no_addresses(url: str) -> None:
    with pytest.raises(UserError, match="endpoint's address") as refusal:
        EndpointGenerator(url)
    assert "secret" not in str(refusal.value)


def test_a_key_that_cannot_be_one() -> None:
    for key in ["a b", "a\nb", "clé"]:
        with pytest.raises(UserError, match="API key") as refusal:
            EndpointGenerator("http://a", api_key=key)
        assert key not in str(refusal.value)


def test_the_model_is_asked_for(serve: Callable[..., CompletionsServer]) -> None:
    server = serve()
    generator = endpoint(server)
    assert generator.identity() == {"name": "some/model", "endpoint": "vLLM"}
    texts(generator)
    assert {body["model"] for body in server.requests} == {"some/model"}
    assert endpoint(server, model="mine").identity() == {"name": "mine"}


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "lists 0 models; name the model"),
        ([{"id": "a"}, {"id": "b\n"}], "lists 2 models: a, b; name the model"),
        ([{"id": str(n)} for n in range(30)], "8, 9, …; name the model"),
    ],
)
def test_no_or_many_models(
    serve: Callable[..., CompletionsServer], models: list[dict[str, str]], said: str
) -> None:
    generator = endpoint(serve(models=models))
    for ask in [generator.identity, lambda: texts(generator)]:
        with pytest.raises(UserError, match=said):
            ask()
    generator = endpoint(serve(models=models), model="mine")
    assert generator.identity() == {"name": "mine"}


def test_a_list_of_models_that_is_none(serve: Callable[..., CompletionsServer]) -> None:
    for models in ["a", [3], [{"id": 3}], [{"id": ""}], None]:
        with pytest.raises(UserError, match="no models"):
            endpoint(serve(models=models), max_retries=1).identity()
        assert endpoint(serve(models=models), model="mine").identity() == {"name": "mine"}
