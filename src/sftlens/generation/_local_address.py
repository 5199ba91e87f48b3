"""Addresses of this machine."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from urllib.request import getproxies


def is_local(host: str) -> bool:
    """Return whether a host is this machine: a loopback address, another address of its own, or a
    name that stands for such addresses alone.

    A name is looked up only where the environment names a proxy, since nothing else depends on it.
    """
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    addresses = {host}
    if not _is_address(host):
        addresses = set()
        if getproxies().keys() - {"no"}:
            with suppress(OSError, UnicodeError):
                addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    return bool(addresses) and all(_is_own(address) for address in addresses)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_own(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    if parsed.is_loopback or parsed.is_unspecified or (mapped and mapped.is_loopback):
        return True
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    try:  # no machine lets a socket have an address that is not its own
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.bind((address, 0))
    except OSError:
        return False
    return True
