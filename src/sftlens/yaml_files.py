"""YAML files of the user's, read into plain values or refused in one line.

Everything of the user's goes through here, since PyYAML itself raises errors of many
classes over keys that are no text and over tags that their values do not fit, and expands aliases
without a bound.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import yaml

from sftlens.errors import UserError

_MAX_BYTES = 64 << 20
_MAX_DEPTH = 64
_MAX_KEY = 256  # letters
_MAX_REPEATED = 1_000_000  # values that aliases stand for, beyond those in the file
_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path, of: str, *, own_tags: bool = False) -> Any:
    """Read a YAML file into plain values.

    Keys are the text that stands there, so that ``no:`` and ``1:`` are not a boolean and a number.

    Args:
        path: the file.
        of: what it should hold, for the error.
        own_tags: take ``null`` for a value with a tag of another program, such as ``!function``.

    Raises:
        UserError: when it is absent, too large or not valid YAML, has a key twice or one that is
            no text, or a value that its tag does not fit; the line is named.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise UserError(
                f"{path}: has {size:,} bytes, and a YAML file of {of} at most {_MAX_BYTES:,}; "
                "give a smaller one"
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; give a YAML file of {of}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give a YAML file of {of}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); choose another file") from None
    except ValueError as error:  # a zero byte in the name
        raise UserError(f"{path}: cannot be read ({error}); choose another file") from None
    return parse_yaml(text, str(path), own_tags=own_tags)


def parse_yaml(text: str, source: str, *, own_tags: bool = False) -> Any:
    """The plain values of a YAML text, as :func:`read_yaml` gives those of a file.

    Args:
        text: one document.
        source: what it was read from, for the error.
        own_tags: as of :func:`read_yaml`.

    Raises:
        UserError: when it is refused; the line is named.
    """
    try:
        return _load(text, _TagsPassedOver if own_tags else _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{source}{_told(error)}; fix it") from None
    except RecursionError:
        raise UserError(f"{source}: is nested too deeply; fix it") from None


def _load(text: str, kind: type[_Loader]) -> Any:
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _told(error: yaml.YAMLError) -> str:
    """Where and why, to be put behind the name of the file."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = "" if mark is None else f", line {mark.line + 1}"
    why = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"{where}: {why if isinstance(error, _RefusedError) else f'is not valid YAML ({why})'}"


def _check(root: yaml.Node) -> None:
    """Refuse keys that are no text or stand twice, deep nesting, and aliases without a bound."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_nodes:
            raise _refused(node, "an alias is within the value that it names")
        if depth > _MAX_DEPTH:
            raise _refused(node, f"has more than {_MAX_DEPTH} levels of nesting")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            parts = node.value
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
                parts = [value for _, value in parts]
            sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in parts)
            open_nodes.remove(id(node))
            if sizes[id(node)] > len(sizes) + _MAX_REPEATED:
                raise _refused(node, f"aliases repeat more than {_MAX_REPEATED:,} values")
        return sizes[id(node)]

    size(root, 1)


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refused(key, "a key is a mapping or a list, as where {{ … }} was not filled in")
        if len(key.value) > _MAX_KEY:
            raise _refused(key, f"a key has more than {_MAX_KEY} letters")
        if key.value in seen:
            raise _refused(key, f"{_shown(key)} is given twice")
        if key.tag != _MERGE:
            seen.add(key.value)


class _RefusedError(yaml.MarkedYAMLError):
    """Valid YAML that is refused here."""


def _refused(node: yaml.Node, why: str) -> _RefusedError:
    return _RefusedError(problem=why, problem_mark=node.start_mark)


class _Loader(yaml.SafeLoader):
    """Gives plain values under keys that are text."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception:
            # A value that its tag does not fit: PyYAML raises whatever its parser does.
            kind = node.tag.rpartition(":")[2]
            raise _refused(node, f"{_shown(node)} is no value of type {kind}") from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _refused(node, f"{_shown(node)} is no mapping")
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep) for key, value in node.value}


class _TagsPassedOver(_Loader):
    """Gives ``None`` for a value with a tag of another program."""


_TagsPassedOver.add_multi_constructor("!", lambda *_: None)


def _shown(node: yaml.Node) -> str:
    return reprlib.repr(node.value if isinstance(node, yaml.ScalarNode) else node.tag)
