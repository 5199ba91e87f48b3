"""Requests to an OpenAI-compatible server, repeated until they are answered."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from sftlens.errors import UserError, first_line
from sftlens.generation._local_address import is_local

Answer = TypeVar("Answer")

_logger = logging.getLogger("sftlens")

_MAX_BYTES = 2**26  # of an answer; more is no completion
_MAX_MESSAGE = 200  # characters that are shown of what a server says
_FIRST_DELAY = 0.5  # seconds
_LONGEST_DELAY = 30.0
_QUIET = 10.0  # seconds without an answer before the user is told
_BUSY = (429, 502, 503, 504)  # the server, or what stands before it, cannot take the request now


class RefusedError(UserError):
    """The server understood the request and will not do it.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class GivenUpError(UserError):
    """One request failed as often as it may, by a server that is there."""


class Clock:
    """Time, as waiting needs it."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def date(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _TryError(Exception):
    """A request that is worth another try.

    Attributes:
        counts: whether it counts against the request; not so where the server was not there.
        wait: seconds that the server asks for.
    """

    def __init__(self, reason: str, *, counts: bool = True, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.counts = counts
        self.wait = wait


class Api:
    """A server's API, for the time of an ``async with`` block.

    Args:
        url: of the API, with ``/v1``.
        key: sent as bearer token; never shown.
        concurrency: requests under way at a time.
        timeout: seconds that an answer may take.
        max_retries: how often a request is repeated that a present server fails to answer.
        patience: seconds without any answer after which the server counts as gone.
        clock: what waits.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None,
        concurrency: int,
        timeout: float,
        max_retries: int,
        patience: float,
        clock: Clock,
    ) -> None:
        self.url = url
        self._key = key
        self._timeout = timeout
        self._max_retries = max_retries
        self._patience = patience
        self._clock = clock
        self._jitter = random.Random(0)
        self._silent_since: float | None = None
        self._told = False
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=timeout,
            limits=httpx2.Limits(max_connections=concurrency),
            follow_redirects=False,  # the key is for the host that the user named
            mounts={f"all://{own}": None for own in _own_hosts(url)},
        )

    async def __aenter__(self) -> Api:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def ask(
        self,
        path: str,
        body: dict[str, Any] | None,
        read: Callable[[Any], Answer],
        *,
        max_retries: int | None = None,
    ) -> Answer:
        """Ask until there is an answer.

        Args:
            path: below the API's address.
            body: sent by POST; with None the request is a GET.
            read: takes what the answer's JSON holds, and raises ValueError, which tells why, when
                that is not of its form.
            max_retries: in place of the API's own.

        Raises:
            RefusedError: when the server refuses the request.
            GivenUpError: when the request failed too often.
            UserError: when the server is gone for longer than the patience.
        """
        max_retries = self._max_retries if max_retries is None else max_retries
        num_failures = num_tries = 0
        while True:
            try:
                answer = await asyncio.wait_for(self._exchange(path, body, read), self._timeout)
            except asyncio.TimeoutError:
                failure = _TryError(f"no answer within {self._timeout:g} s")
            except _TryError as error:
                failure = error
            else:
                self._silent_since = None
                return answer
            num_tries += 1
            num_failures += failure.counts
            if num_failures > max_retries:
                raise GivenUpError(
                    f"{self.url}/{path}: failed {num_failures} times, the last time with:"
                    f" {failure}; see what the server's log says"
                )
            await self._clock.sleep(self._delay(num_tries, failure))

    def fold(self, text: str) -> str:
        """What a server said, fit for a line of ours: short, printable, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"

    async def _exchange(
        self, path: str, body: dict[str, Any] | None, read: Callable[[Any], Answer]
    ) -> Answer:
        method = "GET" if body is None else "POST"
        content = None if body is None else json.dumps(body).encode()
        url = f"{self.url}/{path}"
        try:
            async with self._client.stream(method, url, content=content) as response:
                received = bytearray()
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if len(received) > _MAX_BYTES:
                        raise _TryError(f"an answer of more than {_MAX_BYTES >> 20} MiB")
        except httpx2.RequestError as error:
            reason = self.fold(f"{type(error).__name__}: {first_line(error)}")
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                raise UserError(
                    f"{self.url}: its certificate is not trusted ({reason}); name the"
                    " certificate's authority by SSL_CERT_FILE"
                ) from None
            absent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise _TryError(reason, counts=not absent) from None
        if not response.is_success:
            self._reject(path, response, bytes(received))
        try:
            return read(json.loads(received))
        except (ValueError, RecursionError) as error:
            raise _TryError(
                f"an answer that is no {path}: {self.fold(first_line(error))}"
            ) from None

    def _reject(self, path: str, response: httpx2.Response, received: bytes) -> None:
        status = response.status_code
        said = self.fold(f"{status} {_message(received)}")
        if status == 408 or status == 429 or status >= 500:
            wait = self._retry_after(response.headers.get("Retry-After", ""))
            raise _TryError(said, counts=status not in _BUSY, wait=wait)
        if 300 <= status < 400:
            target = self.fold(response.headers.get("Location", "").split("?")[0])
            raise RefusedError(
                f"{self.url}/{path}: redirects to {target or 'nowhere'}, and redirects are not"
                " followed; give the address that answers itself",
                status,
            )
        if status in (401, 403):
            remedy = "set OPENAI_API_KEY to a key that the server takes"
        elif status in (404, 405):
            remedy = "look at the address and at the model's name"
        else:
            remedy = "change what is asked for, or how the server was started"
        raise RefusedError(f"{self.url}/{path}: the server says: {said}; {remedy}", status)

    def _retry_after(self, value: str) -> float:
        """Seconds, from a number of seconds or a date."""
        seconds = 0.0
        with suppress(ValueError, OverflowError):
            try:
                seconds = float(value)
            except ValueError:
                seconds = parsedate_to_datetime(value).timestamp() - self._clock.date()
        return max(seconds, 0.0) if math.isfinite(seconds) else 0.0

    def _delay(self, num_tries: int, failure: _TryError) -> float:
        """Seconds until the next try."""
        now = self._clock.now()
        if self._silent_since is None:
            self._silent_since, self._told = now, False
        waited = now - self._silent_since
        left = self._patience - waited
        if left <= 0:
            raise UserError(
                f"{self.url}: no answer for {waited:.0f} s (the last failure: {failure}); start"
                " the server, look at the address, or have more patience"
            )
        if failure.wait > left:
            raise UserError(
                f"{self.url}: the server asks to wait for {failure.wait:.0f} s ({failure});"
                " come back then, lower the concurrency, or have more patience"
            )
        if waited >= _QUIET and not self._told:
            self._told = True
            _logger.warning(
                "%s: no answer for %.0f s (%s); trying on for %.0f s",
                *(self.url, waited, failure, left),
            )
        backoff = min(_FIRST_DELAY * 2.0 ** min(num_tries - 1, 16), _LONGEST_DELAY)
        return max(min(backoff * self._jitter.uniform(0.5, 1.0), left), failure.wait)


def _own_hosts(url: str) -> list[str]:
    """Return the host of an address where it is this machine, which no proxy leads to.

    The environment's proxies (HTTP_PROXY) hold for other hosts, less those of NO_PROXY.
    """
    host = urlsplit(url).hostname or ""
    if not is_local(host):
        return []
    return [f"[{host}]" if ":" in host else host]


def _message(received: bytes) -> str:
    """What an error's body says, in one of the forms that servers use."""
    text = received.decode(errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(content, dict) and content.get(name):
            content = content[name]
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
