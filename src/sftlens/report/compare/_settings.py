"""What the runs were made with, and in which of it they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from sftlens.report.compare._sources import Source

SETTINGS_SCHEMA = pl.Schema(
    {"part": pl.String(), "setting": pl.String(), "run": pl.String(), "value": pl.String()}
)
"""One row a setting and run. part: ``models and facts``, ``settings`` or ``versions``. value: as
text; null where the run does not have the setting."""

_INPUTS, _SETTINGS, _VERSIONS = "models and facts", "settings", "versions"


class Setting(NamedTuple):
    """One setting with its value in each run; None where the run does not have it."""

    part: str
    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        """Whether not all runs have the same."""
        return len(set(self.values)) > 1


def all_settings(sources: Sequence[Source]) -> list[Setting]:
    """Every setting of every run, in the order of the manifests."""
    told = [dict(_told(source.manifest)) for source in sources]
    keys = dict.fromkeys(key for one in told for key in one)
    parts = (_INPUTS, _SETTINGS, _VERSIONS)
    ordered = sorted(keys, key=lambda key: parts.index(key[0]))
    return [Setting(*key, tuple(one.get(key) for one in told)) for key in ordered]


def settings_table(sources: Sequence[Source], settings: Sequence[Setting]) -> pl.DataFrame:
    """:data:`SETTINGS_SCHEMA`."""
    rows = [
        (setting.part, setting.name, source.label, value)
        for setting in settings
        for source, value in zip(sources, setting.values, strict=True)
    ]
    return pl.DataFrame(rows, schema=SETTINGS_SCHEMA, orient="row")


def _told(manifest: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    config, result = _mapping(manifest, "config"), _mapping(manifest, "result")
    inputs = {"base model": _mapping(config, "settings").get("model")}
    inputs |= {key: result.get(key) for key in ("base", "facts", "num_facts")}
    study = _mapping(config, "study") or _mapping(config, "settings")
    for part, content in (
        (_INPUTS, inputs),
        (_SETTINGS, study),
        (_VERSIONS, _mapping(manifest, "versions")),
    ):
        for name, value in _flat(content):
            yield (part, name), value


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}, ")
        elif value is not None:
            yield name, _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    return str(value)
