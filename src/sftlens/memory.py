"""Main memory: how much is free, and work that would not fit into it."""

from __future__ import annotations

from pathlib import Path

from sftlens.errors import UserError

_GB = 1e9
_GROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Bytes of main memory that this process can still get; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    sizes = dict(line.split(":", 1) for line in lines)
    free = sizes.get("MemAvailable")
    found = [] if free is None else [int(free.split()[0]) * 1024]
    most, used = _of_group("memory.max"), _of_group("memory.current")
    if most is not None and used is not None:
        found.append(max(0, most - used))
    return min(found, default=None)


def require_memory(num_bytes: float, what: str, remedy: str) -> None:
    """Refuse work that needs more memory than there is, before it takes all of it.

    Args:
        num_bytes: a low estimate of what it needs.
        what: the work, with the number that makes it large; the first words of the message.
        remedy: how to need less.

    Raises:
        UserError: when it does not fit.
    """
    free = available_bytes()
    if free is not None and num_bytes > free:
        raise UserError(
            f"{what} would take about {num_bytes / _GB:,.0f} GB of memory, and "
            f"{free / _GB:,.0f} GB are available; {remedy}"
        )


def _of_group(name: str) -> int | None:
    """A number of the control group, which a container's limit stands in."""
    try:
        text = (_GROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
