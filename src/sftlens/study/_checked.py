"""YAML files of settings, and what is refused in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from sftlens.errors import UserError
from sftlens.yaml_files import read_yaml

Settings = TypeVar("Settings", bound=BaseModel)


def read_keys(path: Path, of: str) -> dict[Any, Any]:
    """The keys of a YAML file; ``of`` is what it should hold, for the refusals.

    Raises:
        UserError: as :func:`sftlens.yaml_files.read_yaml`, and when it holds no keys.
    """
    content = read_yaml(path, of)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no keys; write {of}")
    return content


def checked_settings(model: type[Settings], content: Any, called: str) -> Settings:
    """Settings of a class; what is wrong is told in one line that names the key.

    Raises:
        UserError: when a key is unknown, or a value out of its range.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(model, first["loc"][:-1]))
            raise UserError(f"{called}: {key}: is no key here; known: {known}") from None
        message = first["msg"].removeprefix("Value error, ")
        if not key:
            raise UserError(f"{called}: {message}") from None
        value = " ".join(repr(first["input"]).split())[:80]
        lower = message[0].lower() + message[1:]
        raise UserError(f"{called}: {key}: {value} is refused, {lower}") from None


def _known_keys(model: Any, places: tuple[Any, ...]) -> list[str]:
    parts: tuple[Any, ...] = ()
    for place in places:
        if place in model.model_fields:
            annotation = model.model_fields[place].annotation
            parts = (annotation, *get_args(annotation))
            model = next(part for part in parts if hasattr(part, "model_fields"))
        else:  # the name of one of several settings classes
            model = next(part for part in parts[1:] if part.model_fields["name"].default == place)
    return list(model.model_fields)
