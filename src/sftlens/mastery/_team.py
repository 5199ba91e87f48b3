"""Several processes that share one probe, started by ``accelerate launch`` or torchrun."""

from __future__ import annotations

import os
from typing import NamedTuple


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

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            import torch
            from accelerate import PartialState

            PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
