"""A base checkpoint and a tuned one, aligned tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sftlens.checkpoints import (
    Checkpoint,
    adapter_identity,
    is_adapter,
    model_identity,
    open_checkpoint,
)
from sftlens.errors import UserError, shortened
from sftlens.headers import DTYPE_BYTES, TensorInfo
from sftlens.tensor_fit import require_fit
from sftlens.weights._adapter import open_merged
from sftlens.weights._architecture import Architecture, Kind, Role
from sftlens.weights._companions import adapter_companions, model_companions
from sftlens.weights._inventory import Inventory, inventory
from sftlens.weights._reading import FLOAT_DTYPES, WeightFiles
from sftlens.weights._regions import parse_region
from sftlens.weights._remedies import pack_command

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


class Cast(NamedTuple):
    """The compared tensors that the base stores in one type and the tuned model in another."""

    base: str  # as safetensors spells it, such as F32
    tuned: str
    num_tensors: int
    num_parameters: int

    def __str__(self) -> str:
        tensors = "1 tensor" if self.num_tensors == 1 else f"{self.num_tensors} tensors"
        return (
            f"the base stores {tensors} as {self.base}, the tuned model as {self.tuned}: a "
            f"parameter counts as changed where it differs from the base's as {self.tuned} holds it"
        )


class Piece(NamedTuple):
    """A run of entries of one tensor, from flat position ``start`` on."""

    start: int
    base: Tensor  # in the tuned model's storage type, (num_entries,)
    tuned: Tensor  # as stored, (num_entries,)
    stored_base: Tensor  # as stored, (num_entries,)


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckpointPair:
    """Two aligned checkpoints; made by :func:`open_pair`."""

    base: Checkpoint
    tuned: Checkpoint
    """Of an adapter: its folder, with the files and tensors of the base, as they are merged."""
    tensors: dict[str, PairTensor]
    """The compared tensors by their name in the tuned checkpoint, in plain string order."""
    twins: dict[str, str]
    """Stored copies of a tied weight: the head's name, and the name of the embeddings whose
    entries it repeats. They are counted once and written alike."""
    notes: tuple[str, ...]
    """What was unequal about the two checkpoints and how it was handled, for a person to read."""
    base_files: WeightFiles = field(repr=False)
    tuned_files: WeightFiles = field(repr=False)
    adapter: bool = False
    """Whether the tuned side is a PEFT adapter, merged into the base as it is read."""

    @property
    def casts(self) -> list[Cast]:
        """The storage types that differ between the two sides, each pair of types once."""
        sizes: dict[tuple[str, str], list[int]] = {}
        for tensor in self.tensors.values():
            if tensor.base.dtype != tensor.tuned.dtype:
                types = tensor.base.dtype, tensor.tuned.dtype
                sizes.setdefault(types, []).append(tensor.num_parameters)
        return [Cast(*types, len(own), sum(own)) for types, own in sorted(sizes.items())]

    @property
    def num_layers(self) -> int:
        """How many decoder blocks the model has."""
        layers = [tensor.role.layer for tensor in self.tensors.values()]
        return 1 + max((layer for layer in layers if layer is not None), default=-1)

    def region(self, region: str) -> list[PairTensor]:
        """The tensors of a region, in the order of their names.

        Args:
            region: its name, with or without layers, as :data:`Region` describes it.

        Raises:
            UserError: when there is no region of this name, when the model lacks one of its
                layers, or when it holds no parameters.
        """
        parsed = parse_region(region)
        parsed.require_layers(self.num_layers)
        tensors = [tensor for tensor in self.tensors.values() if parsed.holds(tensor.role)]
        if not any(tensor.num_parameters for tensor in tensors):
            raise UserError(f"{self.tuned.folder}: holds no parameters of region {region!r}")
        return tensors

    def num_parameters(self, region: str) -> int:
        """How many parameters a region has."""
        return sum(tensor.num_parameters for tensor in self.region(region))

    def base_identity(self) -> dict[str, str]:
        """What a manifest says of the base (see :func:`sftlens.checkpoints.model_identity`)."""
        return model_identity(self.base.folder)

    def tuned_identity(self) -> dict[str, str]:
        """What a manifest says of the tuned side; of an adapter, its own weights' hash."""
        if self.adapter:
            return adapter_identity(self.tuned.folder, self.companions())
        return model_identity(self.tuned.folder)

    def companions(self) -> list[Path]:
        """The files that make a folder of the tuned model complete beside its weights.

        Raises:
            UserError: when one of them is a link that leads out of its folder.
        """
        if self.adapter:
            return adapter_companions(self.tuned.folder, self.base)
        return model_companions(self.tuned)

    def pieces(self, tensor: PairTensor, size: int = PIECE) -> Iterator[Piece]:
        """The compared entries of a tensor, in runs of at most ``size``.

        The base's are cast to the storage type of the tuned model's, once and as torch casts, so
        that whatever is made of a piece leaves out what a cast alone did.
        """
        base = self.base_files.entries(tensor.base)
        tuned = self.tuned_files.entries(tensor.tuned)
        for start in range(0, tensor.num_parameters, size):
            end = min(start + size, tensor.num_parameters)
            stored = base[start:end]
            yield Piece(start, stored.to(tuned.dtype), tuned[start:end], stored)


def open_pair(base: Path, tuned: Path) -> CheckpointPair:
    """Align two model folders by tensor name.

    The two may differ in sharding, in storage types, in the spelling of names that
    ``transformers`` undoes on loading, in whether a tied head is stored, and in the padding of the
    vocabulary; such differences are told in ``notes``. Stored tensors that are no floats, or that
    the model has no parameter for, never take part in a selection of ``blocks``.

    ``tuned`` may be a PEFT LoRA adapter of the base. The tuned side is then the base with the
    adapter merged in, bit for bit as peft merges it on a CPU: names, storage types and files are
    the base's, and a tensor is merged when its entries are asked for.

    Raises:
        UserError: when a folder is no readable checkpoint, when the weights are quantised, when
            the architectures differ (the message names the first tensors and how many), and when
            an adapter does not fit the base or cannot be merged exactly.
    """
    base_checkpoint = open_checkpoint(base)
    base_files = WeightFiles(base_checkpoint)
    notes: list[str] = []
    if adapter := is_adapter(tuned):
        architecture = Architecture(base)
        merged = open_merged(tuned, base_checkpoint, architecture)
        known = base_known = Inventory.of(architecture, base_checkpoint.tensors)
        tuned_checkpoint = replace(base_checkpoint, folder=tuned)
        tuned_files: WeightFiles = merged.files
        notes += merged.notes
    else:
        tuned_checkpoint = open_checkpoint(tuned)
        tuned_files = WeightFiles(tuned_checkpoint)
        known, base_known = inventory(tuned_checkpoint), inventory(base_checkpoint)
    aligner = _Aligner(base_checkpoint, tuned_checkpoint, base_files, tuned_files, known)
    aligner.align(base_known)
    pair = CheckpointPair(
        base=base_checkpoint,
        tuned=tuned_checkpoint,
        tensors=dict(sorted(aligner.tensors.items())),
        twins=aligner.twins,
        notes=tuple(map(shortened, (*notes, *aligner.notes))),
        base_files=base_files,
        tuned_files=tuned_files,
        adapter=adapter,
    )
    return replace(pair, notes=(*pair.notes, *map(str, pair.casts)))


class _Aligner:
    """Pairs the tensors of two checkpoints, and collects what has to be told."""

    def __init__(
        self,
        base: Checkpoint,
        tuned: Checkpoint,
        base_files: WeightFiles,
        tuned_files: WeightFiles,
        known: Inventory,
    ) -> None:
        self.base, self.tuned = base, tuned
        self.base_files, self.tuned_files = base_files, tuned_files
        self.known = known
        self.tensors: dict[str, PairTensor] = {}
        self.twins: dict[str, str] = {}
        self.notes: list[str] = []

    def align(self, base_known: Inventory) -> None:
        base_roles = _by_canonical(base_known.roles)
        tuned_roles = _by_canonical(self.known.roles)
        types = base_known.model_type, self.known.model_type
        if types[0] != types[1]:
            self.notes.append(
                f"the base calls itself {types[0]}, the tuned model {types[1]}; "
                "their tensors are aligned by name"
            )
        base = _Side("base", self.base, base_known, base_roles)
        tuned = _Side("tuned model", self.tuned, self.known, tuned_roles)
        _refuse_quantised(base)
        _refuse_quantised(tuned)
        _require_same_pieces(base, tuned)
        for side in (base, tuned):
            require_fit(side.checkpoint.folder, missing=(), unplaced=side.known.unplaced)
        self._require_same_names(base, tuned, types)
        pairs = [
            (tuned_roles[canonical], base_roles[canonical].name)
            for canonical in tuned_roles
            if canonical in base_roles
        ]
        pairs += self._untied_head(base_roles, tuned_roles)
        self._require_same_shapes(pairs, types)
        for side in (base, tuned):
            missing = side.known.missing(side.checkpoint.tensors)
            require_fit(side.checkpoint.folder, missing=missing, unplaced=())
        for named, base_name in pairs:
            self._pair(named.name, named.role, base_name)
        self._tell_tied_head(base_roles, tuned_roles)
        self._count_copies_once(tuned_roles)

    def _require_same_names(self, base: _Side, tuned: _Side, types: tuple[str, str]) -> None:
        for side, other in ((base, tuned), (tuned, base)):
            alone = side.alone(other)
            lacking = [n.name for n in alone if n.role.used and not other.ties(n.role)]
            if lacking:
                raise UserError(
                    f"{self.base.folder} ({types[0]}) and {self.tuned.folder} ({types[1]}) cannot "
                    f"be aligned: the {other.called} lacks {_list(lacking)}; "
                    "give two checkpoints of one architecture"
                )
            unused = [n.name for n in alone if not n.role.used]
            if unused:
                done = "left out" if side is base else "kept"
                self.notes.append(
                    f"only the {side.called} stores {_list(unused)}, not loaded: {done}"
                )

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

    def _untied_head(
        self, base: Mapping[str, _Named], tuned: Mapping[str, _Named]
    ) -> list[tuple[_Named, str]]:
        """A head that only the tuned side stores, with the embeddings the base ties it to."""
        head, embedding = _weight(tuned, "head"), _weight(base, "embedding")
        if head is None or embedding is None or _weight(base, "head") is not None:
            return []
        self.notes.append(
            f"the base ties its head to its embeddings, the tuned model stores {head.name!r}: "
            "it is compared with the base's embeddings"
        )
        return [(head, embedding.name)]

    def _tell_tied_head(self, base: Mapping[str, _Named], tuned: Mapping[str, _Named]) -> None:
        head, embedding = _weight(base, "head"), _weight(base, "embedding")
        if head is None or embedding is None or _weight(tuned, "head") is not None:
            return
        same = torch.equal(
            self.base_files.stored_bytes(self.base.tensors[head.name]),
            self.base_files.stored_bytes(self.base.tensors[embedding.name]),
        )
        fate = "a copy of its embeddings" if same else "not its embeddings, and left out"
        self.notes.append(
            "the tuned model ties its head to its embeddings, the base stores "
            f"{head.name!r}: {fate}"
        )

    def _count_copies_once(self, tuned: Mapping[str, _Named]) -> None:
        head, embedding = _weight(tuned, "head"), _weight(tuned, "embedding")
        if head is None or embedding is None or not self.known.tied:
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


class _Side(NamedTuple):
    """One of the two checkpoints, as an error calls it."""

    called: str
    checkpoint: Checkpoint
    known: Inventory
    roles: Mapping[str, _Named]  # by canonical name

    def alone(self, other: _Side) -> list[_Named]:
        """What the other side stores under no name."""
        return [named for name, named in self.roles.items() if name not in other.roles]

    def ties(self, role: Role) -> bool:
        """Whether this side has no need to store it: a head that it ties to its embeddings."""
        return (
            _is_weight(role, "head")
            and self.known.tied
            and _weight(self.roles, "head") is None
            and _weight(self.roles, "embedding") is not None
        )


def _require_same_pieces(base: _Side, tuned: _Side) -> None:
    """Refuse parameters that one side stores packed and the other in parts.

    transformers packs the experts of a mixture in memory and, by choice and by version, stores
    them packed or one by one; some models fuse other parameters in the same way.
    """
    alone = base.alone(tuned), tuned.alone(base)
    parameters = [{named.role.parameter for named in side if named.role.used} for side in alone]
    common = parameters[0] & parameters[1]
    if not common:
        return
    stored = [_list([n.name for n in side if n.role.parameter in common]) for side in alone]
    # Loaded and saved as it is, a model keeps the pieces that it came in.
    in_parts = tuned if len(alone[1]) > len(alone[0]) else base
    raise UserError(
        f"{base.checkpoint.folder} and {tuned.checkpoint.folder} cannot be aligned: they store the "
        f"same parameters in other pieces, the base as {stored[0]}, the tuned model as "
        f"{stored[1]}; save the {in_parts.called} packed and give FOLDER: "
        f"{pack_command(in_parts.checkpoint.folder)}"
    )


def _refuse_quantised(side: _Side) -> None:
    """Refuse weights of eight bits, also where the configuration does not tell of them."""
    quantised = [
        f"{named.name!r} ({dtype})"
        for named in side.roles.values()
        if named.role.parameter in side.known.parameters
        and DTYPE_BYTES[dtype := side.checkpoint.tensors[named.name].dtype] == 1
    ]
    if quantised:
        raise UserError(
            f"{side.checkpoint.folder}: holds quantised weights, whose entries cannot be compared, "
            f"in {_list(quantised, quote=False)}; give the model as it was before quantisation"
        )


def _by_canonical(roles: Mapping[str, Role]) -> dict[str, _Named]:
    return {role.canonical: _Named(name, role) for name, role in roles.items()}


def _weight(roles: Mapping[str, _Named], kind: Kind) -> _Named | None:
    """The weight (not the bias) of the one embedding or the one head."""
    return next((named for named in roles.values() if _is_weight(named.role, kind)), None)


def _is_weight(role: Role, kind: Kind) -> bool:
    return role.kind == kind and role.canonical.endswith(".weight")


def _comparable(base: TensorInfo, tuned: TensorInfo, role: Role) -> bool:
    if (base.dtype in FLOAT_DTYPES) != (tuned.dtype in FLOAT_DTYPES):
        return False
    if tuned.dtype not in FLOAT_DTYPES and base.dtype != tuned.dtype:
        return False
    if base.shape == tuned.shape:
        return True
    padded = role.kind in ("embedding", "head") and len(base.shape) == len(tuned.shape) > 0
    return padded and base.shape[1:] == tuned.shape[1:] and base.num_entries * tuned.num_entries > 0


def _spell(info: TensorInfo) -> str:
    return f"{list(info.shape)} {info.dtype}"


def _list(names: list[str], *, quote: bool = True) -> str:
    shown = ", ".join(repr(name) if quote else name for name in names[:3])
    more = len(names) - 3
    count = "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
    return f"{count}: {shown}" + (f" and {more} more" if more > 0 else "")
