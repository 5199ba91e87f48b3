"""What a refusal of an endpoint advises, done: the same call then has its answers."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from completions_server import CompletionsServer, Fault
from sftlens.errors import UserError
from sftlens.generation import Decoding, EndpointGenerator

DECODING = Decoding(max_new_tokens=4)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("OPENAI_API_KEY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_certificate_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=localhost -addext"
    subprocess.run(
        [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = CompletionsServer(tls=context)
    try:
        with pytest.raises(UserError, match="name the certificate's authority by SSL_CERT_FILE"):
            list(EndpointGenerator(server.url, patience=0).complete(["A"], DECODING))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert list(EndpointGenerator(server.url, patience=0).complete(["A"], DECODING))
    finally:
        server.close()


def test_a_key_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = CompletionsServer()
    server.faults.append(Fault(401, body=b'{"error": {"message": "no key"}}'))
    try:
        with pytest.raises(UserError, match="set OPENAI_API_KEY to a key that the server takes"):
            list(EndpointGenerator(server.url).complete(["A"], DECODING))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        assert list(EndpointGenerator(server.url).complete(["A"], DECODING))
        assert server.headers[-1]["Authorization"] == "Bearer sk-1"
    finally:
        server.close()
