"""Several processes that share one piece of work, started by ``accelerate launch`` or torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sftlens.errors import UserError


class Team(NamedTuple):
    """Which of how many processes this is."""

    rank: int
    size: int
    local_rank: int

    @classmethod
    def of_environment(cls) -> Team:
        """The team that the launcher tells of; alone without one."""
        return cls(*(int(os.environ.get(name, default)) for name, default in _VARIABLES))

    @property
    def leads(self) -> bool:
        """Whether this process writes and tells the result."""
        return self.rank == 0

    @property
    def device(self) -> str | None:
        """The device of this process, None where it may choose."""
        import torch

        if self.size == 1 or not torch.cuda.is_available():
            return None
        return f"cuda:{self.local_rank % torch.cuda.device_count()}"

    def join(self) -> None:
        """Let the processes talk to each other from here on."""
        if self.size > 1:
            import torch
            from accelerate import PartialState

            PartialState(cpu=not torch.cuda.is_available())

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            from accelerate import PartialState

            self.join()
            PartialState().wait_for_everyone()

    def gather(self, value: Any) -> list[Any]:
        """What each process has, by rank; every process must call it."""
        if self.size == 1:
            return [value]
        import torch.distributed

        self.join()
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def agree(self) -> Iterator[None]:
        """A block in which no process waits for another: refused in one, it is refused in all.

        Raises:
            UserError: in the first process, when any was refused; the others exit with 2, silently.
        """
        refusal = None
        try:
            yield
        except UserError as error:
            if self.size == 1:
                raise
            refusal = str(error)
        refusals = [one for one in self.gather(refusal) if one is not None]
        if refusals and self.leads:
            raise UserError(refusals[0])
        if refusals:
            raise SystemExit(2)


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
