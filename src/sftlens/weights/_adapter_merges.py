"""What an adapter does to the stored tensors of a base, tied embeddings and head as one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from sftlens.checkpoints import ADAPTER_FILE, Checkpoint
from sftlens.errors import UserError
from sftlens.headers import TensorInfo
from sftlens.weights._architecture import Architecture, Role
from sftlens.weights._lora import Layout, Slice
from sftlens.weights._reading import WeightFiles
from sftlens.weights._remedies import untie_command


class Lora(NamedTuple):
    """The low-rank update of one stored tensor; the places are those in the adapter's file."""

    layout: Layout
    a: TensorInfo
    b: TensorInfo
    magnitude: TensorInfo | None
    scaling: float
    num_experts: int = 1
    part: Slice | None = None
    """Where the stored tensor is only a part of the parameter that is updated."""


class Merge(NamedTuple):
    """What the adapter does to one stored tensor of the base, in this order."""

    stored: TensorInfo | None = None  # taken instead of the base's entries
    lora: Lora | None = None  # added, to a weight
    bias: tuple[TensorInfo, float] | None = None  # B's bias and the scaling, added to a bias
    rows: tuple[TensorInfo, tuple[int, ...]] | None = None  # put in the place of some rows


class Merges:
    """Collects what is done to each stored tensor."""

    def __init__(self, adapter: Checkpoint, base: Checkpoint, architecture: Architecture) -> None:
        self._adapter, self._base, self._architecture = adapter, base, architecture
        self._merges: dict[TensorInfo, Merge] = {}
        self._tied: dict[str, Merge] = {}  # of embeddings and head that are one, by kind

    def is_tied(self, role: Role) -> bool:
        """Return whether a tensor is the one weight of embeddings and head."""
        return (
            self._architecture.tied
            and role.kind in ("embedding", "head")
            and role.canonical.endswith(".weight")
        )

    def add(self, role: Role, info: TensorInfo, merge: Merge) -> None:
        """Do this to a stored tensor too, beside what is done to it already."""
        given = {field: value for field, value in merge._asdict().items() if value is not None}
        if self.is_tied(role):
            self._tied[role.kind] = self._tied.get(role.kind, Merge())._replace(**given)
        else:
            self._merges[info] = self._merges.get(info, Merge())._replace(**given)

    def by_tensor(self) -> dict[TensorInfo, Merge]:
        """Return what is done to each stored tensor.

        Raises:
            UserError: when embeddings and head are tied and not changed alike.
        """
        if not self._tied:
            return dict(self._merges)
        both = self._of_both()
        tied = {
            self._base.tensors[name]: both
            for name, role in self._architecture.roles(self._base.tensors).items()
            if self.is_tied(role)
        }
        return self._merges | tied

    def _of_both(self) -> Merge:
        """Return what is done to the one weight of embeddings and head."""
        embeddings, head = self._tied.get("embedding"), self._tied.get("head")
        # Trained tokens are tied by peft where the base ties its embeddings, and saved once.
        only_rows = (
            head is None and embeddings is not None and embeddings == Merge(rows=embeddings.rows)
        )
        if embeddings is None or not (only_rows or (head and self._alike(embeddings, head))):
            some = next(
                info
                for merge in self._tied.values()
                for info in (merge.stored, *(merge.lora or ())[1:3], *(merge.rows or ())[:1])
                if info is not None
            )
            name = next(name for name, info in self._adapter.tensors.items() if info == some)
            raise tensor_fault(
                self._adapter.folder / ADAPTER_FILE,
                name,
                "is for the embeddings or the head, which the base ties to each other and the "
                "adapter does not change alike",
                f"give a base whose head is a copy of its own: {untie_command(self._base.folder)}",
            )
        return embeddings

    def _alike(self, embeddings: Merge, head: Merge) -> bool:
        files = WeightFiles(self._adapter)

        def same(first: TensorInfo, second: TensorInfo, *, turned: bool = False) -> bool:
            a, b = (files.entries(info).view(info.shape) for info in (first, second))
            b = b.T if turned else b
            return a.dtype == b.dtype and torch.equal(a, b)

        if embeddings.stored is None or head.stored is None:
            if embeddings.stored is not head.stored:
                return False
        elif not same(embeddings.stored, head.stored):
            return False
        if head.rows is not None:
            ours = embeddings.rows
            if ours is None or ours[1] != head.rows[1] or not same(ours[0], head.rows[0]):
                return False
        first, second = embeddings.lora, head.lora
        if first is None or second is None:
            return first is second
        plain = first.magnitude is None and second.magnitude is None
        return (
            plain
            and first.scaling == second.scaling
            and same(first.a, second.b, turned=True)
            and same(first.b, second.a, turned=True)
        )


def tensor_fault(file: Path, name: str, fault: str, remedy: str) -> UserError:
    """Return the refusal of a tensor of an adapter's file."""
    return UserError(f"{file}: tensor {name!r} {fault}; {remedy}")
