"""Threads of a job's arithmetic, which the number of workers has no say in.

Sums are split among threads, so that their last bits depend on how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "OMP_NUM_THREADS"


def machine_threads() -> int:
    """As many threads as torch takes here where it is told nothing: one for each core."""
    import torch

    return torch.get_num_threads()


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """Compute with so many threads for a block, here and in processes that are started in it."""
    import torch

    before, stated = torch.get_num_threads(), os.environ.get(_VARIABLE)
    torch.set_num_threads(threads)
    os.environ[_VARIABLE] = str(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if stated is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = stated
