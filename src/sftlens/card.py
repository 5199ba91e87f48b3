"""What the hub reads at the head of a model's card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from sftlens.yaml_files import parse_yaml

_HUB_MODEL = re.compile(r"(?P<name>(?:[\w.-]+/)?[\w.-]+)@(?P<revision>[\w.-]+)", re.ASCII)
_METADATA = re.compile(r"\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_HUB_DATA_SET = re.compile(r"(?!.*(?:--|\.\.))(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)


def metadata(
    models: Sequence[str], licence: Mapping[str, Any], *, source: str | None = None
) -> str:
    """The YAML block of a card, with the lines that fence it.

    Args:
        models: names of the models that it was made of, as :func:`sftlens.checkpoints.model_name`
            gives them; those that are folders are left out.
        licence: as :func:`stated_licence` gives it.
        source: where the facts came from that it was made with; named where it is a data set of
            the hub.
    """
    from huggingface_hub import ModelCardData

    found = [match["name"] for name in models if (match := _HUB_MODEL.fullmatch(name))]
    data_set = None if source is None else hub_data_set(source)
    data = ModelCardData(
        base_model=found or None,
        datasets=None if data_set is None else [data_set],
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["sftlens", "factual-knowledge"],
        **licence,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"


def hub_data_set(source: str) -> str | None:
    """The data set of the hub that facts were read from; None where it is a file or a folder."""
    scheme, _, rest = source.partition(":")
    places = accumulate(rest.split(":"), lambda start, part: f"{start}:{part}")
    if scheme != "hf" or Path(source).exists() or any(Path(place).is_dir() for place in places):
        return None
    name = rest.partition(":")[0]
    return name if _HUB_DATA_SET.fullmatch(name) else None


def _metadata(card: Path) -> dict[str, Any]:
    """What stands between the two lines of ``---`` of a model card; nothing where it is unsound."""
    try:
        block = _METADATA.match(card.read_text(encoding="utf-8"))
        content = parse_yaml(block[1], str(card)) if block else None
    except (OSError, ValueError):  # a UserError is one
        return {}
    return content if isinstance(content, dict) else {}


def stated_licence(folder: Path, name: str) -> dict[str, Any]:
    """The licence that the card of a model folder states, as it stands there.

    Args:
        folder: a model folder, with or without a card.
        name: of the model, as :func:`sftlens.checkpoints.model_name` gives it. With it a link to a
            file of a hub model leads there; of a local folder, such a link is left out.

    Returns:
        ``license`` and what explains it, ``license_name`` and ``license_link``; nothing where there
        is no card, none that can be read, or no licence in it.
    """
    card = _metadata(folder / "README.md")
    told = card.get("license")
    kinds = told if isinstance(told, list) else [told]
    if not kinds or not all(isinstance(kind, str) and kind.strip() for kind in kinds):
        return {}
    hub = _HUB_MODEL.fullmatch(name)
    home = f"https://huggingface.co/{hub['name']}/blob/{hub['revision']}/" if hub else ""
    link = str(card.get("license_link") or "")
    link = link if "://" in link or not link else home + link
    return {
        "license": told,
        **({"license_name": str(card["license_name"])} if card.get("license_name") else {}),
        **({"license_link": link} if link.startswith("https://") else {}),
    }
