"""A completions server on loopback that does as it is told."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """An answer other than the right one; without a status the connection breaks off."""

    status: int | None = 200
    headers: dict[str, str] = {}  # noqa: RUF012
    body: bytes | Callable[[dict[str, Any]], Any] = b""


HANG_UP = Fault(None)


class CompletionsServer:
    """Its flags tell what it heeds; ``faults`` are given out first, None for a right answer."""

    def __init__(self, **flags: Any) -> None:
        self.heeds_n = self.greedy = self.samples = self.heeds_seed = self.heeds_max_tokens = True
        self.heeds_filters = self.tells_usage = self.tells_prompt_tokens = True
        self.most_texts: int | None = None  # in one request
        self.names_most_texts = True
        self.num_template_tokens = 0  # the prompt is put into a chat template where there are some
        self.num_first_tokens = 1  # such as that of the beginning of text
        self.echo = False
        self.space = " "
        self.refuses: set[str] = set()
        self.models: list[dict[str, Any]] = [{"id": "some/model", "owned_by": "vllm"}]
        self.answers_as: str | None = "some/model"
        self.tls: ssl.SSLContext | None = None
        self.stalled = threading.Event()
        self.stall = threading.Event()  # while it is set, a request waits for `release`
        for name, value in flags.items():
            setattr(self, name, value)
        self.faults: deque[Fault | None] = deque()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._count = 0
        self._lock = threading.Lock()
        self.release = threading.Event()
        self.closed = self.hung = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one piece, which no delayed acknowledgement holds up

            def do_GET(self) -> None:
                server.headers.append(dict(self.headers))
                self._send(200, {}, {"object": "list", "data": server.models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(body)
                    server.headers.append(dict(self.headers))
                    fault = server.faults.popleft() if server.faults else None
                if server.stall.is_set():
                    server.stalled.set()
                    server.hung |= not server.release.wait(20)
                if server.closed:
                    self.close_connection = True
                elif server.refuses & set(body):
                    detail = {"detail": f"Unexpected fields: {sorted(server.refuses)}"}
                    self._send(422, {}, detail)
                elif server.most_texts and body.get("n", 1) > server.most_texts:
                    most = server.most_texts if server.names_most_texts else "the slots"
                    self._send(400, {}, {"error": {"message": f"n must be 1 <= n <= {most}"}})
                elif fault is None:
                    self._send(200, {}, server.answer(body))
                elif fault.status is None:
                    self.close_connection = True
                else:
                    content = fault.body
                    if callable(content):
                        content = content(server.answer(body))
                    self._send(fault.status, fault.headers, content)

            def _send(self, status: int, headers: dict[str, str], content: Any) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client left
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if self.tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.closed = True
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def text(self, body: dict[str, Any], sample: int = 0) -> str:
        """What the model says: a word is a token, and each follows from all that stand before."""
        drawn: list[Any] = []
        fields = {**body, **json.loads(body.get("generation_config", "{}"))}
        filters = self.heeds_filters and (fields.get("top_k") == 1 or fields.get("min_p", 0) >= 1)
        if not self.greedy or (body["temperature"] > 0 and self.samples and not filters):
            with self._lock:
                self._count += 1
                drawn += [body.get("seed"), sample] if self.heeds_seed else [self._count]
                drawn += [] if self.greedy else [self._count]
        written = body["prompt"] + ("<assistant>" if self.num_template_tokens else "")
        words = []
        for _ in range(body["max_tokens"] * (1 if self.heeds_max_tokens else 8)):
            stands_for = json.dumps([written, *drawn]).encode()
            words.append(hashlib.sha256(stands_for).hexdigest()[:4])
            written += " " + words[-1]
        return (body["prompt"] if self.echo else "") + self.space + " ".join(words)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        n = body.get("n", 1) if self.heeds_n else 1
        texts = [self.text(body, sample) for sample in range(n)]
        answer: dict[str, Any] = {
            "model": self.answers_as,
            "choices": [
                {"index": index, "text": text, "finish_reason": "length"}
                for index, text in reversed(list(enumerate(texts)))
            ],
        }
        if self.tells_usage:
            written = sum(len(text.split()) for text in texts)
            if self.echo:
                written -= n * len(body["prompt"].split())
            answer["usage"] = {"completion_tokens": written}
            if self.tells_prompt_tokens:
                read = len(body["prompt"].split()) + self.num_first_tokens
                answer["usage"]["prompt_tokens"] = read + self.num_template_tokens
        return answer
