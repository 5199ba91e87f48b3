"""A base checkpoint and a tuned one, aligned tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sftlens.checkpoints import Checkpoint, TensorInfo, open_checkpoint
from sftlens.errors import UserError
from sftlens.weights._architecture import Architecture, Kind, Role
from sftlens.weights._reading import FLOAT_DTYPES, WeightFiles

Region = Literal["blocks", "all", "embeddings"]
"""``blocks``: every parameter of the decoder blocks except those of norms (the paper's
"transformer"). ``embeddings``: token embeddings and output head. ``all``: every stored float."""

REGIONS: dict[str, frozenset[Kind]] = {
    "blocks": frozenset({"block"}),
    "embeddings": frozenset({"embedding", "head"}),
    "all": frozenset({"block", "norm", "embedding", "head", "other"}),
}

PIECE = 1 << 18
"""How many entries are worked on at once."""


class PairTensor(NamedTuple):
    """One tensor of the tuned checkpoint and its counterpart in the base.

    ``name`` is the name in the tuned checkpoint. The first ``num_parameters`` entries, in flat
    order, are compared: all of them, or the common rows where one vocabulary is padded.
    """

    name: str
    role: Role
    base: TensorInfo
    tuned: TensorInfo
    num_parameters: int


class Piece(NamedTuple):
    """A run of entries of one tensor, from flat position ``start`` on."""

    start: int
    base: Tensor  # as stored, (num_entries,)
    tuned: Tensor  # as stored, (num_entries,)


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckpointPair:
    """Two aligned checkpoints; made by :func:`open_pair`."""

    base: Checkpoint
    tuned: Checkpoint
    tensors: dict[str, PairTensor]
    """The compared tensors by their name in the tuned checkpoint, in plain string order."""
    twins: dict[str, str]
    """Stored copies of a tied weight: the head's name, and the name of the embeddings whose
    entries it repeats. They are counted once and written alike."""
    notes: tuple[str, ...]
    """What was unequal about the two checkpoints and how it was handled, for a person to read."""
    base_files: WeightFiles = field(repr=False)
    tuned_files: WeightFiles = field(repr=False)

    def region(self, region: str) -> list[PairTensor]:
        """The tensors of a region, in the order of their names.

        Raises:
            UserError: when there is no region of this name, or it holds no parameters.
        """
        if region not in REGIONS:
            raise UserError(f"region {region!r}: there is none; choose from {', '.join(REGIONS)}")
        kinds = REGIONS[region]
        tensors = [tensor for tensor in self.tensors.values() if tensor.role.kind in kinds]
        if not any(tensor.num_parameters for tensor in tensors):
            raise UserError(f"{self.tuned.folder}: holds no parameters of region {region!r}")
        return tensors

    def num_parameters(self, region: str) -> int:
        """How many parameters a region has."""
        return sum(tensor.num_parameters for tensor in self.region(region))

    def pieces(self, tensor: PairTensor, size: int = PIECE) -> Iterator[Piece]:
        """The compared entries of a tensor, in runs of at most ``size``."""
        base = self.base_files.entries(tensor.base)
        tuned = self.tuned_files.entries(tensor.tuned)
        for start in range(0, tensor.num_parameters, size):
            end = min(start + size, tensor.num_parameters)
            yield Piece(start, base[start:end], tuned[start:end])


def open_pair(base: Path, tuned: Path) -> CheckpointPair:
    """Align two model folders by tensor name.

    The two may differ in sharding, in storage types, in the spelling of names that
    ``transformers`` undoes on loading, in whether a tied head is stored, and in the padding of the
    vocabulary; such differences are told in ``notes``. Stored tensors that are no floats, or that
    the model has no parameter for, never take part in a selection of ``blocks``.

    Raises:
        UserError: when a folder is no readable checkpoint, when the weights are quantised, and
            when the architectures differ: the message names the first tensors and how many.
    """
    base_checkpoint, tuned_checkpoint = open_checkpoint(base), open_checkpoint(tuned)
    architecture = Architecture(tuned)
    files = WeightFiles(base_checkpoint), WeightFiles(tuned_checkpoint)
    aligner = _Aligner(base_checkpoint, tuned_checkpoint, *files, architecture)
    aligner.align(Architecture(base))
    return CheckpointPair(
        base=base_checkpoint,
        tuned=tuned_checkpoint,
        tensors=dict(sorted(aligner.tensors.items())),
        twins=aligner.twins,
        notes=tuple(aligner.notes),
        base_files=files[0],
        tuned_files=files[1],
    )


class _Aligner:
    """Pairs the tensors of two checkpoints, and collects what has to be told."""

    def __init__(
        self,
        base: Checkpoint,
        tuned: Checkpoint,
        base_files: WeightFiles,
        tuned_files: WeightFiles,
        architecture: Architecture,
    ) -> None:
        self.base, self.tuned = base, tuned
        self.base_files, self.tuned_files = base_files, tuned_files
        self.architecture = architecture
        self.tensors: dict[str, PairTensor] = {}
        self.twins: dict[str, str] = {}
        self.notes: list[str] = []

    def align(self, base_architecture: Architecture) -> None:
        base_roles = _by_canonical(base_architecture.roles(self.base.tensors))
        tuned_roles = _by_canonical(self.architecture.roles(self.tuned.tensors))
        types = base_architecture.model_type, self.architecture.model_type
        if types[0] != types[1]:
            self.notes.append(
                f"the base calls itself {types[0]}, the tuned model {types[1]}; "
                "their tensors are aligned by name"
            )
        self._require_same_names(base_roles, tuned_roles, types)
        pairs = [
            (tuned_roles[canonical], base_roles[canonical].name)
            for canonical in tuned_roles
            if canonical in base_roles
        ]
        self._require_same_shapes(pairs, types)
        for tuned, base_name in pairs:
            self._pair(tuned.name, tuned.role, base_name)
        self._align_heads(base_roles, tuned_roles)

    def _require_same_names(
        self, base: Mapping[str, _Named], tuned: Mapping[str, _Named], types: tuple[str, str]
    ) -> None:
        for side, roles, others in (("base", base, tuned), ("tuned", tuned, base)):
            alone = [named for canonical, named in roles.items() if canonical not in others]
            missing = [n.name for n in alone if n.role.used and n.role.kind != "head"]
            untied = [n.name for n in alone if n.role.kind == "head" and not self._has_tied(others)]
            if missing or untied:
                other = "tuned model" if side == "base" else "base"
                raise UserError(
                    f"{self.base.folder} ({types[0]}) and {self.tuned.folder} ({types[1]}) cannot "
                    f"be aligned: the {other} lacks {_list([*missing, *untied])}; "
                    "give two checkpoints of one architecture"
                )
            unused = [n.name for n in alone if not n.role.used]
            if unused:
                done = "left out" if side == "base" else "kept"
                self.notes.append(f"only the {side} stores {_list(unused)}, not loaded: {done}")

    def _has_tied(self, roles: Mapping[str, _Named]) -> bool:
        """Whether a checkpoint without a head can have tied it to its embeddings."""
        kinds = {named.role.kind for named in roles.values()}
        return "embedding" in kinds and "head" not in kinds

    def _require_same_shapes(
        self, pairs: Iterable[tuple[_Named, str]], types: tuple[str, str]
    ) -> None:
        wrong = []
        for named, base_name in pairs:
            base, tuned = self.base.tensors[base_name], self.tuned.tensors[named.name]
            if not _comparable(base, tuned, named.role):
                wrong.append(
                    f"{named.name} ({_spell(base)} in the base, {_spell(tuned)} in the tuned model)"
                )
        if wrong:
            raise UserError(
                f"{self.base.folder} ({types[0]}) and {self.tuned.folder} ({types[1]}) cannot be "
                f"aligned: of other shape or type {_list(wrong, quote=False)}; "
                "give two checkpoints of one architecture"
            )

    def _pair(self, name: str, role: Role, base_name: str) -> None:
        base, tuned = self.base.tensors[base_name], self.tuned.tensors[name]
        if tuned.dtype not in FLOAT_DTYPES:
            same = torch.equal(
                self.base_files.stored_bytes(base), self.tuned_files.stored_bytes(tuned)
            )
            if not same:
                self.notes.append(f"{name!r} ({tuned.dtype}) differs; the tuned model's is kept")
            return
        if base.shape != tuned.shape:
            rows = base.shape[0], tuned.shape[0]
            extra = (
                f"the tuned model's other {rows[1] - rows[0]} are kept"
                if rows[1] > rows[0]
                else f"the base's other {rows[0] - rows[1]} are left out"
            )
            self.notes.append(
                f"{name!r} has {rows[0]} rows in the base and {rows[1]} in the tuned model: "
                f"the first {min(rows)} are compared, {extra}"
            )
        count = min(base.num_entries, tuned.num_entries)
        self.tensors[name] = PairTensor(name, role, base, tuned, count)

    def _align_heads(self, base: Mapping[str, _Named], tuned: Mapping[str, _Named]) -> None:
        """Pair a head that one side only stores with the embeddings that the other ties it to."""
        base_kinds, tuned_kinds = _weights_by_kind(base), _weights_by_kind(tuned)
        embedding, head = tuned_kinds.get("embedding"), tuned_kinds.get("head")
        if head is not None and "head" not in base_kinds and "embedding" in base_kinds:
            self._pair(head.name, head.role, base_kinds["embedding"].name)
            self.notes.append(
                f"the base ties its head to its embeddings, the tuned model stores {head.name!r}: "
                "it is compared with the base's embeddings"
            )
        if head is None and "head" in base_kinds and "embedding" in base_kinds:
            same = torch.equal(
                self.base_files.stored_bytes(self.base.tensors[base_kinds["head"].name]),
                self.base_files.stored_bytes(self.base.tensors[base_kinds["embedding"].name]),
            )
            fate = "a copy of its embeddings" if same else "not its embeddings, and left out"
            self.notes.append(
                "the tuned model ties its head to its embeddings, the base stores "
                f"{base_kinds['head'].name!r}: {fate}"
            )
        if head is None or embedding is None or not self.architecture.tied:
            return
        if head.name in self.tensors and embedding.name in self.tensors:
            first, second = self.tensors[head.name], self.tensors[embedding.name]
            if self._is_copy(first, second):
                del self.tensors[head.name]
                self.twins[head.name] = embedding.name
                self.notes.append(
                    f"{head.name!r} is a stored copy of {embedding.name!r}: counted once"
                )

    def _is_copy(self, head: PairTensor, embedding: PairTensor) -> bool:
        base, tuned = self.base_files, self.tuned_files
        return torch.equal(
            tuned.stored_bytes(head.tuned), tuned.stored_bytes(embedding.tuned)
        ) and torch.equal(base.stored_bytes(head.base), base.stored_bytes(embedding.base))


class _Named(NamedTuple):
    name: str
    role: Role


def _by_canonical(roles: Mapping[str, Role]) -> dict[str, _Named]:
    return {role.canonical: _Named(name, role) for name, role in roles.items()}


def _weights_by_kind(roles: Mapping[str, _Named]) -> dict[Kind, _Named]:
    """The weight (not the bias) of each kind; of use for the one embedding and the one head."""
    return {n.role.kind: n for n in roles.values() if n.role.canonical.endswith(".weight")}


def _comparable(base: TensorInfo, tuned: TensorInfo, role: Role) -> bool:
    if (base.dtype in FLOAT_DTYPES) != (tuned.dtype in FLOAT_DTYPES):
        return False
    if tuned.dtype not in FLOAT_DTYPES and base.dtype != tuned.dtype:
        return False
    if base.shape == tuned.shape:
        return True
    padded = role.kind in ("embedding", "head") and len(base.shape) == len(tuned.shape) > 0
    return padded and base.shape[1:] == tuned.shape[1:] and math.prod(tuned.shape) > 0


def _spell(info: TensorInfo) -> str:
    return f"{list(info.shape)} {info.dtype}"


def _list(names: list[str], *, quote: bool = True) -> str:
    shown = ", ".join(repr(name) if quote else name for name in names[:3])
    more = len(names) - 3
    count = "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
    return f"{count}: {shown}" + (f" and {more} more" if more > 0 else "")
