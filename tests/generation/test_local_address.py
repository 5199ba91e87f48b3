"""Addresses of this machine, which no proxy leads to."""

from __future__ import annotations

import socket

import pytest

from sftlens.generation._local_address import is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "a.localhost"])
def test_loopback(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "localhost.example.invalid", ""])
def test_another_machine(host: str) -> None:
    assert not is_local(host)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["127.0.1.1"], True),  # as a machine's own name stands in its file of hosts
        (["::1", "127.0.0.1"], True),
        (["127.0.0.1", "192.0.2.1"], False),
        ([], False),
    ],
)
def test_a_name_is_what_it_stands_for(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], expected: bool
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (one, 0)) for one in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.9:3128")
    assert is_local("my-machine") == expected


def test_without_a_proxy_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert not is_local("my-machine")
