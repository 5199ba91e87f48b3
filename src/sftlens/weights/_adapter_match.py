"""Which stored tensor of a base each tensor of an adapter changes, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from sftlens.checkpoints import ADAPTER_FILE, Checkpoint
from sftlens.errors import UserError
from sftlens.headers import TensorInfo
from sftlens.weights._adapter_config import AdapterConfig, Pattern, ends_in
from sftlens.weights._adapter_merges import Lora, Merge, Merges, tensor_fault
from sftlens.weights._adapter_names import BASE_LAYER, PREFIX, AdapterNames, sort_names, untrained
from sftlens.weights._architecture import Architecture, Role
from sftlens.weights._lora import Layout
from sftlens.weights._packed import packed_slices
from sftlens.weights._reading import FLOAT_DTYPES
from sftlens.weights._remedies import (
    SAVE_AGAIN,
    merge_command,
    resize_command,
)

_TOKENS = "token_adapter.trainable_tokens_delta"
_FACTORS: Mapping[Layout, tuple[str, str]] = {
    "linear": ("lora_A.weight", "lora_B.weight"),
    "conv1d": ("lora_A.weight", "lora_B.weight"),
    "embedding": ("lora_embedding_A", "lora_embedding_B"),
    "parameter": ("lora_A.weight", "lora_B.weight"),
    "transposed": ("lora_A.weight", "lora_B.weight"),
}


class Matched(NamedTuple):
    """What an adapter does to a base, and what to say of it."""

    merges: dict[TensorInfo, Merge]
    notes: tuple[str, ...]


class _Target(NamedTuple):
    """A stored tensor of the base that the adapter changes."""

    path: str  # of the module, within the model
    role: Role
    info: TensorInfo

    @property
    def place(self) -> tuple[Role, TensorInfo]:
        return self.role, self.info


class Matcher:
    """Finds the stored tensor that each tensor of an adapter changes."""

    def __init__(
        self,
        adapter: Checkpoint,
        config: AdapterConfig,
        base: Checkpoint,
        architecture: Architecture,
    ) -> None:
        self._file = adapter.folder / ADAPTER_FILE
        self._adapter, self._config, self._base = adapter, config, base
        self._architecture = architecture
        self._modules = dict(architecture.model.named_modules(remove_duplicate=False))
        roles = architecture.roles(base.tensors)
        self._stored = {role.canonical: name for name, role in roles.items()}
        self._parts: dict[str, list[str]] = {}
        for name, role in roles.items():
            self._parts.setdefault(role.parameter, []).append(name)
        self._merges = Merges(adapter, base, architecture)
        self._notes: dict[str, None] = {}

    def match(self) -> Matched:
        """What is done to each stored tensor that the adapter changes.

        Raises:
            UserError: when a tensor cannot be placed, or is broken.
        """
        names = self._sorted_out()
        changed = [spelt.replace(f"{BASE_LAYER}.", ".") for spelt in names.replaced]
        changed += [f"{path}.{kind}" for path in names.updates for kind in ("weight", "bias")]
        self._roles = self._architecture.roles(changed)
        for spelt, name in names.replaced.items():
            self._add_replaced(spelt, name, names.updates)
        for path, parts in names.updates.items():
            if _TOKENS in parts:
                self._add_rows(path, parts)
            elif (parameter := self._parameter(path, parts)) is not None:
                self._add_parameter(path, parts, parameter)
            else:
                self._add_update(path, parts)
        merges = self._merges.by_tensor()
        if absent := untrained(names, self._config.target_modules):
            listed = ", ".join(repr(name) for name in absent[:5])
            self._notes[
                f"target_modules names {listed}, of which the adapter holds nothing: no such "
                "module was trained"
            ] = None
        return Matched(merges, tuple(self._notes))

    def _sorted_out(self) -> AdapterNames:
        for name, info in self._adapter.tensors.items():
            if info.dtype not in FLOAT_DTYPES:
                raise self._fault(
                    name, f"is stored as {info.dtype}, no float type of 16 bits or more", SAVE_AGAIN
                )
        names = sort_names(self._adapter.tensors)
        if names.other:
            raise self._fault(
                names.other[0],
                "is none of plain LoRA",
                f"merge the adapter with the peft that wrote it: {self._merge_command()}",
            )
        if not names.updates and not names.replaced:
            raise UserError(f"{self._file}: holds no tensors; {SAVE_AGAIN}")
        if len(names.adapters) > 1:
            raise UserError(
                f"{self._file}: holds the adapters {', '.join(names.adapters)}; save one of them "
                f"(model.save_pretrained(FOLDER, selected_adapters=[{names.adapters[0]!r}]))"
            )
        if names.respelt:
            self._notes[
                f"the adapter's tensors are not named as peft saves them ({names.respelt!r}); "
                "peft itself would pass over them"
            ] = None
        for module in self._config.modules_to_save:
            # As in peft, a name stands for every module whose path ends in it.
            if not any(f"{module}." in spelt for spelt in names.replaced):
                raise UserError(
                    f"{self._file}: lacks the tensors of {module!r}, which modules_to_save names; "
                    f"{SAVE_AGAIN}"
                )
        return names

    def _add_replaced(
        self, spelt: str, name: str, updates: Mapping[str, Mapping[str, str]]
    ) -> None:
        unwrapped = spelt.replace(f"{BASE_LAYER}.", ".")
        if unwrapped != spelt and unwrapped.rpartition(".")[0] not in updates:
            raise self._fault(name, "belongs to a module without an update", SAVE_AGAIN)
        target = self._target(unwrapped, name)
        self._require_shape(name, target.info.shape, f"{unwrapped!r} of the base", target.role)
        self._merges.add(*target.place, Merge(stored=self._adapter.tensors[name]))

    def _add_rows(self, path: str, parts: Mapping[str, str]) -> None:
        """Rows of the embeddings or the head that were trained (``trainable_token_indices``)."""
        name = parts[_TOKENS]
        rows = self._config.rows_of(path)
        if len(parts) > 1 or rows is None:
            raise self._fault(name, "has no token ids in trainable_token_indices", SAVE_AGAIN)
        target = self._target(f"{path}.weight", name)
        num_rows, *width = target.info.shape
        self._require_shape(name, (len(rows), *width), "trainable_token_indices and the base")
        if rows and max(rows) >= num_rows:
            raise self._fault(
                name,
                f"is for row {max(rows)}, and the base has {num_rows}",
                f"give a base with as many: {resize_command(self._base.folder, max(rows) + 1)}",
            )
        self._merges.add(*target.place, Merge(rows=(self._adapter.tensors[name], rows)))

    def _parameter(self, path: str, parts: Mapping[str, str]) -> str | None:
        """The parameter that is updated itself, not its module, by its name in the model.

        Several of one module are wrapped one in the other, the module's first one innermost.
        """
        owner, depth = path, 0
        while owner.endswith(BASE_LAYER):
            owner, depth = owner.removesuffix(BASE_LAYER), depth + 1
        module = self._modules.get(owner)
        if module is None or not self._config.target_parameters:
            return None
        targeted = [
            f"{owner}.{name}"
            for name, _ in module.named_parameters(recurse=False)
            if any(ends_in(f"{owner}.{name}", wanted) for wanted in self._config.target_parameters)
        ]
        if not targeted and not depth:
            return None
        if depth >= len(targeted):
            raise self._fault(
                next(iter(parts.values())),
                "updates a parameter that target_parameters does not name",
                SAVE_AGAIN,
            )
        return targeted[-1 - depth]

    def _add_parameter(self, path: str, parts: Mapping[str, str], parameter: str) -> None:
        some = next(iter(parts.values()))
        owner, _, own_name = parameter.rpartition(".")
        shape = tuple(getattr(self._modules[owner], own_name).shape)
        transposed = len(shape) == 3 and getattr(self._modules[owner], "is_transposed", False)
        layout: Layout = "transposed" if transposed else "parameter"
        if len(shape) not in (2, 3) or (transposed and shape[0] == 1):
            raise self._fault(some, f"is for {parameter!r} of shape {list(shape)}", SAVE_AGAIN)
        num_experts = shape[0] if len(shape) == 3 else 1
        into, out = shape[-2:] if transposed else (shape[-1], shape[-2])
        self._require_parts(path, parts, [*_FACTORS[layout]], layout)
        names = [parts[part] for part in _FACTORS[layout]]
        rank = self._rank(parameter, self._adapter.tensors[names[0]], num_experts)
        told = f"rank {rank} and {list(shape)} in the base"
        self._require_shape(names[0], (rank * num_experts, into), told)
        self._require_shape(names[1], (out, rank * num_experts), told)
        a, b = (self._adapter.tensors[name] for name in names)
        lora = Lora(layout, a, b, None, self._scaling(parameter, rank), num_experts)
        if (whole := self._stored.get(parameter)) is not None:
            self._merges.add(*self._stored_target(whole, parameter, some).place, Merge(lora=lora))
            return
        stored = self._parts.get(parameter, [])
        if not stored:
            raise self._fault(some, *self._no_counterpart(parameter))
        slices = packed_slices(self._architecture.model, parameter, self._base, stored)
        if slices is None or transposed:
            raise self._fault(
                some,
                f"is for {parameter!r}, which the base stores in pieces of another layout",
                f"merge the adapter with peft and give FOLDER: {self._merge_command()}",
            )
        for name, part in slices.items():
            target = self._stored_target(name, parameter, some)
            self._merges.add(*target.place, Merge(lora=lora._replace(part=part)))

    def _stored_target(self, stored: str, parameter: str, name: str) -> _Target:
        info = self._base.tensors[stored]
        self._require_float(name, stored, info)
        role = self._architecture.roles([parameter])[parameter]
        return _Target(parameter.rpartition(".")[0], role, info)

    def _add_update(self, path: str, parts: Mapping[str, str]) -> None:
        some = next(iter(parts.values()))
        target = self._target(f"{path}.weight", some)
        layout = self._layout(target, some)
        wanted = [*_FACTORS[layout]]
        wanted += ["lora_magnitude_vector"] if self._config.dora else []
        wanted += ["lora_B.bias"] if self._config.bias else []
        self._require_parts(path, parts, wanted, layout)
        a, b, *_ = (self._adapter.tensors[parts[part]] for part in wanted)
        rank = self._rank(target.path, a)
        first, last = target.info.shape
        out, into = (first, last) if layout == "linear" else (last, first)
        shapes = {
            _FACTORS[layout][0]: (rank, into),
            _FACTORS[layout][1]: (out, rank),
            "lora_magnitude_vector": (out,),
            "lora_B.bias": (out,),
        }
        for part in wanted:
            told = f"rank {rank} and {list(target.info.shape)} in the base"
            self._require_shape(parts[part], shapes[part], told, target.role)
        magnitude = self._adapter.tensors.get(parts.get("lora_magnitude_vector", ""))
        scaling = self._scaling(target.path, rank)
        self._merges.add(*target.place, Merge(lora=Lora(layout, a, b, magnitude, scaling)))
        if self._config.bias:
            self._add_bias(path, parts["lora_B.bias"], scaling)

    def _add_bias(self, path: str, name: str, scaling: float) -> None:
        role = self._roles[f"{path}.bias"]
        if role.canonical not in self._stored:
            raise self._fault(
                name,
                f"is for a bias, and {role.canonical!r} is none of the base's, so that nothing can "
                "hold the merged one (peft refuses it too)",
                "train the adapter without lora_bias",
            )
        target = self._target(f"{path}.bias", name)
        self._require_shape(name, target.info.shape, "the base's bias")
        self._merges.add(*target.place, Merge(bias=(self._adapter.tensors[name], scaling)))

    def _rank(self, path: str, a: TensorInfo, num_experts: int = 1) -> int:
        """The rank of an update: of those that its path allows, the one that its tensors have."""
        ranks = self._config.ranks_of(path)
        stored = a.shape[0] // num_experts if a.shape else 0
        if stored in ranks[1:] and stored != ranks[0]:
            self._say_ambiguous("rank", path, ranks, stored)
            return stored
        return ranks[0]

    def _scaling(self, path: str, rank: int) -> float:
        alphas = self._config.alphas_of(path)
        if len(set(alphas)) > 1:
            self._say_ambiguous("alpha", path, alphas, alphas[0])
        return self._config.scaling(alphas[0], rank)

    def _say_ambiguous(
        self, called: str, path: str, values: Sequence[float], chosen: float
    ) -> None:
        patterns: tuple[Pattern, ...] = getattr(self._config, f"{called}_pattern")
        matching = [repr(entry.expression) for entry in patterns if entry.pattern.matches(path)]
        others = ", ".join(f"{value:g}" for value in dict.fromkeys(values) if value != chosen)
        note = (
            f"{called}_pattern has several entries for the same modules ({', '.join(matching)}), "
            "and peft sorts them when it saves an adapter: "
        )
        if any(known.startswith(note) for known in self._notes):
            return
        self._notes[
            f"{note}{path} is merged with {called} {chosen:g}, "
            + (
                f"as peft merges it; the training may have used {others}"
                if called == "alpha"
                else f"which its tensors have, where peft would expect {others}"
            )
        ] = None

    def _target(self, spelt: str, name: str) -> _Target:
        role = self._roles[spelt]
        stored = self._stored.get(role.canonical)
        if stored is None and self._merges.is_tied(role):
            roles = self._architecture.roles(self._base.tensors)
            stored = next((each for each, own in roles.items() if self._merges.is_tied(own)), None)
        if stored is None:
            raise self._fault(name, *self._no_counterpart(role.canonical))
        info = self._base.tensors[stored]
        self._require_float(name, stored, info)
        return _Target(role.canonical.rpartition(".")[0], role, info)

    def _no_counterpart(self, canonical: str) -> tuple[str, str]:
        trained_on = f" ({self._config.base_name})" if self._config.base_name else ""
        return (
            f"has no counterpart {canonical!r} in {self._base.folder}",
            f"give the base that the adapter was trained on{trained_on}",
        )

    def _require_float(self, name: str, stored: str, info: TensorInfo) -> None:
        if info.dtype not in FLOAT_DTYPES:
            raise self._fault(
                name,
                f"is for {stored!r}, which the base stores as {info.dtype}",
                "give the base as it was before quantisation",
            )

    def _layout(self, target: _Target, name: str) -> Layout:
        from transformers.pytorch_utils import Conv1D

        module = self._modules.get(target.path)
        layouts: dict[type[nn.Module], Layout] = {
            nn.Linear: "linear",
            Conv1D: "conv1d",
            nn.Embedding: "embedding",
        }
        for kind, layout in layouts.items():
            if isinstance(module, kind) and len(target.info.shape) == 2:
                return layout
        raise self._fault(
            name,
            f"is for {target.role.canonical!r}, in a module of class {type(module).__name__}, and "
            "only linear layers, embeddings and packed experts are read",
            f"merge the adapter with peft and give FOLDER: {self._merge_command()}",
        )

    def _require_parts(
        self, path: str, parts: Mapping[str, str], wanted: Sequence[str], layout: Layout
    ) -> None:
        some = next(iter(parts.values()))
        for part in wanted:
            if part not in parts:
                raise UserError(
                    f"{self._file}: lacks {PREFIX}{path}.{part}, and holds {some!r}; {SAVE_AGAIN}"
                )
        for part in parts:
            if part not in wanted:
                raise self._fault(
                    parts[part],
                    f"has no part in a {layout} layer of this configuration",
                    SAVE_AGAIN,
                )

    def _require_shape(
        self, name: str, shape: tuple[int, ...], what: str, role: Role | None = None
    ) -> None:
        found = self._adapter.tensors[name].shape
        if found == shape:
            return
        remedy = "give the base that the adapter was trained on"
        if role is not None and role.kind in ("embedding", "head") and len(found) == len(shape):
            vocabulary = max(found, key=lambda size: (size not in shape, size))
            if vocabulary not in shape:
                remedy += (
                    f", with a vocabulary of {vocabulary} rows as it was resized to then: "
                    f"{resize_command(self._base.folder, vocabulary)}"
                )
        raise self._fault(
            name, f"is of shape {_spell(found)} instead of {_spell(shape)} ({what})", remedy
        )

    def _merge_command(self) -> str:
        return merge_command(self._base.folder, self._adapter.folder)

    def _fault(self, name: str, fault: str, remedy: str) -> UserError:
        return tensor_fault(self._file, name, fault, remedy)


def _spell(shape: Sequence[int]) -> str:
    return str(list(shape)) if len(shape) <= 8 else f"{len(shape)} dimensions"
