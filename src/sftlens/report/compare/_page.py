"""The page of a comparison: no code, no request, every number from the table of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sftlens.pages import inline, page_environment
from sftlens.report._findings import DOMAIN_NAMES
from sftlens.report._wording import percent, percent_interval
from sftlens.report.cite import citations
from sftlens.report.compare import _content
from sftlens.report.compare._content import Claim
from sftlens.report.compare._settings import Setting
from sftlens.report.compare._sources import Shared, Source
from sftlens.rounding import fixed
from sftlens.style import Mark

_HERE = Path(__file__).parent
_SHARED = _HERE.parent / "page"
# Apart in lightness too, and each with a shape of its own.
_MARKS = (
    Mark("#2c6bb0", "#6cb2f5", "circle"),
    Mark("#c4501b", "#ff9a62", "square"),
    Mark("#12897f", "#2fc4b2", "diamond"),
    Mark("#472a7a", "#b197fc", "triangle"),
    Mark("#7a4b12", "#d7a86e", "stripe"),
)


class Shown(NamedTuple):
    """How a run stands on the page."""

    number: int
    label: str
    model: str | None
    quick: bool
    mark: Mark


def render(
    sources: Sequence[Source],
    shared: Sequence[Shared | None],
    numbers: pl.DataFrame,
    settings: Sequence[Setting],
    claims: Sequence[Claim],
) -> str:
    """The page as HTML.

    Args:
        sources: the runs.
        shared: of each, the facts it shares with the first one.
        numbers: :data:`NUMBERS_SCHEMA`.
        settings: all of them.
        claims: of all runs.
    """
    environment = page_environment(_HERE, _SHARED)
    environment.filters |= {
        "percent": percent,
        "percent_interval": percent_interval,
        "fixed": fixed,
    }
    labels = [source.label for source in sources]
    text: str = environment.get_template("compare.html.j2").render(
        style=inline(_SHARED / "page.css", _HERE / "compare.css"),
        runs=[_shown(place, source) for place, source in enumerate(sources)],
        sentences=[
            *_content.facts_sentences(sources, shared),
            *_content.difference_sentences(numbers, sources),
            _content.claims_sentence(claims),
            _content.settings_sentence(settings),
        ],
        settings=[one for one in settings if one.differs],
        same=[one for one in settings if not one.differs],
        levels=_content.levels_rows(numbers, labels),
        sections=list(_content.sections(numbers)),
        accuracy=_content.accuracy_charts(numbers, labels),
        sizes=_content.size_charts(numbers, labels),
        by_test_level=[
            (name, _content.test_level_rows(numbers, labels, domain))
            for domain, name in DOMAIN_NAMES.items()
        ],
        kl=_content.kl_chart(numbers, labels),
        concentration=_content.concentration_charts(numbers, labels),
        gains=_content.gain_charts(numbers, labels),
        claims=claims,
        citations=citations(),
    )
    return text


def _shown(place: int, source: Source) -> Shown:
    config = source.manifest.get("config")
    settings = config.get("settings") if isinstance(config, dict) else None
    told = settings if isinstance(settings, dict) else {}
    model = told.get("model")
    return Shown(
        place + 1,
        source.label,
        model if isinstance(model, str) else None,
        told.get("quick") is True,
        _MARKS[place % len(_MARKS)],
    )
