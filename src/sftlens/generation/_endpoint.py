"""Completions by a model that a server holds."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sftlens.errors import UserError
from sftlens.generation._decoding import Completed, Decoding
from sftlens.generation._endpoint_answers import Texts, read_texts
from sftlens.generation._endpoint_api import Answer, Api, Clock, GivenUpError, RefusedError
from sftlens.generation._endpoint_capabilities import Capabilities, Filter, style_fields
from sftlens.generation._endpoint_trials import find_capabilities

_KINDS = {"vllm": "vLLM", "sglang": "SGLang", "llamacpp": "llama.cpp"}  # by owned_by of the model
_MAX_LISTED = 10
_BLINK = 0.1  # seconds; polars' handler of Ctrl-C lets a wait go on, so that no wait is long


class EndpointGenerator:
    """Completes prompts at an OpenAI-compatible ``/v1/completions``.

    See :class:`sftlens.generation.Generator`. The server (vLLM, SGLang, TGI, llama.cpp,
    ``transformers serve``) puts before a prompt what its tokenizer does, and is asked for the
    model's whole distribution at the decoding's temperature: no top-p, no top-k, no penalty.

    A request that fails is repeated, after a while that doubles from time to time; what a server
    ignores is found out before the first prompt, and worked around, told, or refused.

    Args:
        url: such as ``http://127.0.0.1:8000``, with or without ``/v1``.
        model: the model's name at the server; by default the only one that it lists.
        concurrency: requests under way at a time.
        timeout: seconds that one answer may take.
        max_retries: how often a request is repeated that the server fails to answer: an error of
            its own (408, 500), a connection that breaks off, no answer in time, an answer of
            another form. A server that is busy (429, 502 to 504) or absent is not counted here.
        patience: seconds without any answer after which the server counts as gone.
        api_key: by default that of the environment's ``OPENAI_API_KEY``; never shown.
        clock: what waits between the tries.

    Attributes:
        url: of the API, with ``/v1``.
        notes: what was found of the server that a reader of the results should know.

    Raises:
        UserError: when the address or the key cannot be one.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        concurrency: int = 16,
        timeout: float = 300.0,
        max_retries: int = 8,
        patience: float = 600.0,
        api_key: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if concurrency < 1:
            raise UserError(f"concurrency {concurrency}: give at least 1")
        self.url = _api_url(url)
        self.notes: list[str] = []
        self._model = model
        self._concurrency = concurrency
        self._timeout = timeout
        self._max_retries = max_retries
        self._patience = patience
        self._key = _usable_key(os.environ.get("OPENAI_API_KEY") if api_key is None else api_key)
        self._clock = clock or Clock()
        self._found: dict[tuple[float, int], Capabilities] = {}
        self._answering: str | None = None

    def complete(
        self,
        prompts: Sequence[str],
        decoding: Decoding,
        *,
        samples: Sequence[Sequence[int]] | None = None,
        settled: Callable[[int, str], bool] | None = None,
    ) -> Iterator[list[Completed]]:
        """See :meth:`sftlens.generation.Generator.complete`; texts are never cut.

        Prompts come as they are finished. A sample has a seed of its own, by the decoding's seed,
        the prompt and the sample's number; where the server gives several texts a request, as many
        samples of a prompt share one. Closing the iterator cancels what is under way.

        Raises:
            UserError: when the server refuses, fails too often or is gone; whatever was finished
                before came before.
        """
        every = range(decoding.num_samples)
        wanted = [list(own) for own in ([every] * len(prompts) if samples is None else samples)]
        finished: SimpleQueue[Completed | None] = SimpleQueue()
        with _event_loop() as loop:
            work = asyncio.run_coroutine_threadsafe(
                self._complete(prompts, decoding, wanted, finished.put), loop
            )
            work.add_done_callback(lambda _: finished.put(None))
            ended = False
            while not ended:
                batch = []
                with suppress(Empty):
                    batch.append(finished.get(timeout=_BLINK))
                    while True:
                        batch.append(finished.get_nowait())
                ended = None in batch
                if completed := [own for own in batch if own is not None]:
                    yield completed
            work.result()

    def capabilities(self, decoding: Decoding | None = None) -> Capabilities:
        """What the server does of what a decoding needs, asked once; :attr:`notes` tells it too.

        Raises:
            UserError: when the server cannot decode so.
        """
        with _event_loop() as loop:
            return _result(self._capabilities(decoding or Decoding()), loop)

    def identity(self) -> dict[str, str]:
        """What a manifest says of the model: its ``name`` at the server, and the kind of server,
        ``endpoint``, where that is told. An address is no part of it, nor do weights prove it.

        Raises:
            UserError: when the model is not named and the server does not list exactly one.
        """
        with _event_loop() as loop:
            return _result(self._identity(), loop)

    def _api(self) -> Api:
        return Api(
            self.url,
            key=self._key,
            concurrency=self._concurrency,
            timeout=self._timeout,
            max_retries=self._max_retries,
            patience=self._patience,
            clock=self._clock,
        )

    async def _capabilities(self, decoding: Decoding) -> Capabilities:
        async with self._api() as api:
            return await self._find(api, decoding)

    async def _identity(self) -> dict[str, str]:
        async with self._api() as api:
            if self._model is None:
                listed = await api.ask("models", None, _read_models)
            else:
                try:
                    listed = await api.ask("models", None, _read_models, max_retries=0)
                except (RefusedError, GivenUpError):
                    listed = []
            name = self._choose(api, listed)
        kind = next((_KINDS.get(model.owner) for model in listed if model.name == name), None)
        return {"name": name} | ({"endpoint": kind} if kind else {})

    async def _name(self, api: Api) -> str:
        if self._model is None:
            self._choose(api, await api.ask("models", None, _read_models))
        assert self._model is not None
        return self._model

    def _choose(self, api: Api, listed: list[_ListedModel]) -> str:
        if self._model is None:
            if len(listed) != 1:
                names = ", ".join(api.fold(model.name) for model in listed[:_MAX_LISTED])
                raise UserError(
                    f"{self.url}: lists {len(listed)} models{': ' if names else ''}{names}"
                    f"{', …' if len(listed) > _MAX_LISTED else ''}; name the model"
                )
            self._model = listed[0].name
        return self._model

    async def _find(self, api: Api, decoding: Decoding) -> Capabilities:
        key = (decoding.temperature, decoding.num_samples)
        if key not in self._found:
            model = await self._name(api)

            async def ask(
                prompt: str,
                *,
                style: str,
                temperature: float,
                max_tokens: int,
                seed: int,
                n: int = 1,
                any_number: bool = False,
                likeliest: Filter | None = None,
            ) -> Texts:
                fields = style_fields(style, temperature, likeliest)
                return await api.ask(
                    "completions",
                    _body(model, prompt, fields, temperature, max_tokens, seed, n),
                    lambda answer: read_texts(answer, None if any_number else n),
                    max_retries=0 if any_number else None,
                )

            self._found[key] = await find_capabilities(ask, decoding, url=self.url)
            for note in self._found[key].notes(decoding.num_samples):
                if note not in self.notes:
                    self.notes.append(note)
        return self._found[key]

    async def _complete(
        self,
        prompts: Sequence[str],
        decoding: Decoding,
        wanted: list[list[int]],
        finish: Callable[[Completed], None],
    ) -> None:
        texts: list[list[str | None]] = [[None] * len(own) for own in wanted]
        for (place, _), own in zip(enumerate(prompts), wanted, strict=True):
            if not own:
                finish(Completed(place, [], []))
        if not any(wanted):
            return
        async with self._api() as api:
            found = await self._find(api, decoding)
            size = (found.n or 1) if decoding.temperature > 0 else max(map(len, wanted))
            requests = iter(_requests(wanted, size))

            async def work() -> None:
                for place, slots in requests:
                    numbers = [wanted[place][slot] for slot in slots]
                    own = await self._texts(api, prompts[place], numbers, decoding, found)
                    for slot, text in zip(slots, own, strict=True):
                        texts[place][slot] = text
                    done = [text for text in texts[place] if text is not None]
                    if len(done) == len(texts[place]):
                        finish(Completed(place, done, [False] * len(done)))

            workers = [asyncio.ensure_future(work()) for _ in range(self._concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:  # the first that fails ends the others
                await _cancel(workers)

    async def _texts(
        self,
        api: Api,
        prompt: str,
        numbers: list[int],
        decoding: Decoding,
        found: Capabilities,
    ) -> list[str]:
        """The samples of these numbers."""
        n = len(numbers) if decoding.temperature > 0 else 1
        body = _body(
            await self._name(api),
            prompt,
            style_fields(found.style, decoding.temperature),
            decoding.temperature,
            decoding.max_new_tokens,
            _seed(decoding.seed, prompt, numbers),
            n,
        )
        answer = await api.ask("completions", body, lambda content: read_texts(content, n))
        if answer.model is not None:
            self._answering = self._answering or answer.model
            if answer.model != self._answering:
                raise UserError(
                    f"{self.url}: another model answers, {api.fold(answer.model)!r} in place of"
                    f" {api.fold(self._answering)!r}; serve the model of the beginning"
                )
        texts = answer.texts
        if found.echo:
            if not all(text.startswith(prompt) for text in texts):
                raise UserError(
                    f"{self.url}: repeats the prompt {api.fold(prompt)!r} in other characters, so"
                    " that it cannot be taken off; start the server without echo"
                )
            texts = [text.removeprefix(prompt) for text in texts]
        return texts if decoding.temperature > 0 else texts * len(numbers)


class _ListedModel(NamedTuple):
    name: str
    owner: str


def _read_models(answer: Any) -> list[_ListedModel]:
    listed = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it has no data")
    models = []
    for model in listed:
        if not isinstance(model, dict) or not isinstance(model.get("id"), str) or not model["id"]:
            raise ValueError("a model has no id")
        models.append(_ListedModel(model["id"], str(model.get("owned_by", "")).lower()))
    return models


def _api_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        usable = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(not c.isprintable() or c.isspace() for c in url.strip()):
        raise UserError("the endpoint's address must be like http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UserError(
            "the endpoint's address must hold neither user nor password, ? nor #;"
            " give a key by OPENAI_API_KEY"
        )
    path = parts.path.rstrip("/").removesuffix("/completions")
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix('/v1')}/v1"


def _usable_key(key: str | None) -> str | None:
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError("the API key holds characters that a key cannot; look at OPENAI_API_KEY")
    return key or None


def _body(
    model: str,
    prompt: str,
    fields: dict[str, Any],
    temperature: float,
    max_tokens: int,
    seed: int,
    n: int,
) -> dict[str, Any]:
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": temperature,
        **fields,
    }
    if temperature > 0:
        body["seed"] = seed
    if n > 1:
        body["n"] = n
    return body


def _seed(seed: int, prompt: str, numbers: Sequence[int]) -> int:
    """Of one request; 31 bits, which every server takes."""
    stands_for = json.dumps([seed, prompt, *numbers]).encode()
    return int.from_bytes(hashlib.blake2b(stands_for, digest_size=4).digest(), "big") >> 1


def _requests(wanted: list[list[int]], size: int) -> Iterator[tuple[int, list[int]]]:
    """A prompt's place and the slots of its samples that one request fills, ``size`` at most."""
    for place, own in enumerate(wanted):
        for start in range(0, len(own), size):
            yield place, list(range(start, min(start + size, len(own))))


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, since the caller may have one that runs.

    What still runs in it when the block is left is cancelled.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="endpoint", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_others() -> None:
    await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _cancel(tasks: Collection[asyncio.Future[Any] | None]) -> None:
    others = [task for task in tasks if task is not None]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _result(work: Coroutine[Any, Any, Answer], loop: asyncio.AbstractEventLoop) -> Answer:
    future = asyncio.run_coroutine_threadsafe(work, loop)
    while not wait([future], timeout=_BLINK).done:
        pass
    return future.result()
