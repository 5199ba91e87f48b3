"""One self-contained page from a run folder."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
from plotly.offline import get_plotlyjs

from sftlens.outputs import new_file
from sftlens.pages import compact_json, inline, page_environment, script_json
from sftlens.report._answers import NUM_RESAMPLES, Answers
from sftlens.report._effects import compute_effects
from sftlens.report._findings import DOMAIN_NAMES, find_all, method_name
from sftlens.report._judged import JudgedClaim, failed_jobs, judged_claims
from sftlens.report._lost import count_exchanges, pick_examples
from sftlens.report._mastery import exposure_effect, topic_levels
from sftlens.report._shift import (
    RANKINGS,
    measure_concentration,
    measure_divergence,
    norm_removed,
)
from sftlens.report._tables import Tables, load_tables
from sftlens.report._weights_map import weights_maps
from sftlens.report._wording import (
    clipped,
    correlation_text,
    listed,
    number,
    percent,
    percent_interval,
    share_text,
)
from sftlens.report.cite import citations
from sftlens.report.page import _advice, _figures, _listings, _restored_figures
from sftlens.report.page._brief import briefs
from sftlens.report.page._charts import Figure
from sftlens.report.page._explorer import explorer
from sftlens.report.page._ledger import base_row, floor_text, make_ledger, packed
from sftlens.report.page._paper_numbers import paper_numbers
from sftlens.report.page._paper_tables import SHOWN, by_group, paper_tables_shown, true_minus
from sftlens.report.page._strategies import domains_of, strategies_of
from sftlens.rounding import fixed
from sftlens.style import LEVELS, PALETTE, method_mark
from sftlens.texts import encodable

_PAPER_TABLES = tuple(spec.name for spec in SHOWN)
_HERE = Path(__file__).parent
_ANCHORS = {
    "claims": "The paper’s claims",
    "be-careful": "All cautions",
    "how-sure": "How sure is this",
}
_SCRIPTS = ("shared.js", "facts.js", "explorer.js", "page.js")
_EVIDENCE = {
    "mastery": "What the base model knew",
    "accuracy": "Accuracy after fine-tuning",
    "facts": "Facts lost and gained, one by one",
    "divergence": "Shift of token probabilities",
    "concentration": "Where the weights moved",
    "restoration": "Restoration and its controls",
    "explorer": "Restoration explorer",
    "exchange": "Facts lost and gained by restoration",
    "strategies": "Ways of training and restoring, side by side",
    "paper": "The paper’s tables and figures",
    "method": "Settings and method",
}


def write_report(run: Path) -> Path:
    """Write ``index.html`` into the run folder of a study.

    The page holds its figures, their code and its style: it works from disk and loads nothing.

    Args:
        run: the run folder, with the study's Parquet tables and ``manifest.json``.

    Returns:
        The path of the page.

    Raises:
        UserError: when the folder is no study's, or a table or a column is missing.
    """
    tables = load_tables(run)
    page = run / "index.html"
    claims = judged_claims(run)
    content = _content(tables, paper_numbers(run, _PAPER_TABLES), claims)
    text = _render({**content, "claims": claims, "failures": failed_jobs(run)})
    with new_file(page) as path:
        path.write_text(encodable(text), encoding="utf-8")
    return page


def _content(
    tables: Tables, paper: Mapping[str, pl.DataFrame], claims: Sequence[JudgedClaim]
) -> dict[str, Any]:
    answers = Answers(tables)
    effects = compute_effects(answers)
    divergence, concentration = measure_divergence(tables), measure_concentration(tables)
    exposure = exposure_effect(tables.mastery, tables.exposures)
    topics = topic_levels(tables.mastery, tables.facts)
    exchanges = {d: count_exchanges(answers, effects, d) for d in answers.domains}
    norms = norm_removed(tables.restorations)
    methods = answers.methods() or _listings.measured_methods(answers, norms)
    shown = _restored_figures.shown_methods(methods)
    base = base_row(answers, tables.base_scores)
    ledger = make_ledger(answers, base)
    restored = explorer(answers, tables, base)
    evidence = dict(_EVIDENCE)
    if not ledger.has_base and not ledger.has_restored:
        del evidence["facts"]
    if restored is None:
        del evidence["explorer"]
    strategies = strategies_of(paper.get("strategies"))
    if not strategies:
        del evidence["strategies"]
    figures = [_figures.topics_figure(topics)]
    figures += _figures.accuracy_figures(answers)
    listings = [
        _listings.topics_listing(topics),
        _listings.accuracy_listing(answers),
        *_listings.settings_listings(tables),
    ]
    if exposure:
        figures.append(_figures.exposure_figure(exposure.points))
        listings.append(_listings.exposure_listing(exposure))
    if divergence.by_cell:
        figures.append(_figures.divergence_figure(answers, divergence))
        listings.append(_listings.divergence_listing(answers, divergence))
    if divergence.points:
        figures.append(_figures.scatter_figure(divergence))
        listings.append(_listings.runs_listing(divergence))
    if concentration.held:
        figures.append(_figures.concentration_figure(concentration))
        listings.append(_listings.concentration_listing(concentration))
    if effects.restorations:
        figures += _restored_figures.gains_figures(effects, answers.domains)
        figures += _restored_figures.restoration_figures(answers, list(effects.restorations))
        figures += _restored_figures.exchange_figures(exchanges)
        listings += [
            _listings.gains_listing(answers, effects),
            *(_listings.restoration_listing(answers, level) for level in effects.restorations),
            _listings.exchange_listing(exchanges),
            _listings.examples_listing(pick_examples(answers, effects)),
        ]
    if norms:
        measured = _listings.measured_methods(answers, norms)
        figures.append(_restored_figures.norm_figure(norms, measured))
        listings.append(_listings.norm_listing(norms, measured))
    cautions = _advice.be_careful(tables, answers, effects, concentration)
    return {
        "tables": tables,
        "findings": find_all(answers, effects, divergence, concentration),
        "how_sure": _advice.how_sure(answers),
        "briefs": briefs(
            answers,
            effects,
            base,
            paper.get("exchange"),
            claims,
            done=_summary(tables, answers),
            advice=_advice.what_to_do(answers, effects),
            cautions=cautions,
        ),
        "be_careful": cautions,
        "num_resamples": number(NUM_RESAMPLES),
        "choice_text": _advice.choice_text(answers),
        "exposure_text": correlation_text(exposure.correlation) if exposure else None,
        "evidence_names": evidence,
        "anchor_names": _ANCHORS,
        "section_numbers": {name: place for place, name in enumerate(evidence, 1)},
        "strategies": strategies,
        "paper_tables": (shown_tables := paper_tables_shown(paper)),
        "missing_tables": [one for one in shown_tables if one.laid is None],
        "strategy_domains": [
            (domain, DOMAIN_NAMES[domain]) for domain in domains_of(strategies, answers.domains)
        ],
        "weights_maps": weights_maps(tables.tensors),
        "ledger": ledger,
        "restored": packed(compact_json(restored).encode()),
        "floor_text": floor_text(tables.noise),
        "scatter_text": correlation_text(divergence.correlation),
        "num_exposed": number(sum(p.num_facts for p in exposure.points)) if exposure else None,
        "domains": [(domain, DOMAIN_NAMES[domain]) for domain in answers.domains],
        "heat": {domain: _listings.heat_rows(answers, domain) for domain in answers.domains},
        "restored_levels": list(effects.restorations),
        "dtype": tables.dtype,
        "levels": [(f"level {level}", mark) for level, mark in enumerate(LEVELS)],
        "methods": [(method_name(method), method_mark(method)) for method in shown],
        "num_other_methods": len(methods) - len(shown),
        "rankings": [(ranking, method_mark(ranking)) for ranking in RANKINGS],
        "palette": PALETTE,
        "figures": {figure.name: figure for figure in figures},
        "listings": {listing.name: listing for listing in listings},
        "figures_json": script_json(_figures_json(figures)),
        "plotly": _packed_plotly(),
        "citations": citations(),
    }


def _summary(tables: Tables, answers: Answers) -> str:
    levels = answers.levels_trained
    sizes = sorted({size for level in levels for size in answers.sizes(level)})
    num_seeds = len(tables.runs["seed"].unique())
    tested = listed(
        [
            f"{number(int(answers.test(domain).sum()))} {DOMAIN_NAMES[domain]}"
            for domain in answers.domains
        ]
    )
    restored = ", and the largest runs again with base values given back" * bool(answers.methods())
    return (
        f"The base model’s mastery of {number(len(tables.mastery))} facts was measured; it was "
        f"fine-tuned in {number(len(tables.runs))} runs ({len(levels)} mastery "
        f"level{'s' * (len(levels) != 1)} × {len(sizes)} size{'s' * (len(sizes) != 1)}, "
        f"{num_seeds} seed{'s' * (num_seeds != 1)}), and every tuned model was asked {tested} "
        f"test facts{restored}."
    )


def _figures_json(figures: Sequence[Figure]) -> dict[str, Any]:
    return {"palette": PALETTE, "figures": {figure.name: figure.spec for figure in figures}}


def _heat(times: float) -> float:
    """The strength of a colour, in percent: none at 1, full at four times or a quarter."""
    return round(min(100.0, 50 * abs(math.log2(times))), 1) if times > 0 else 100.0


@lru_cache(maxsize=1)
def _packed_plotly() -> str:
    """Plotly's code, gzip in base64: 2 MB of page instead of 5."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _render(content: dict[str, Any]) -> str:
    environment = page_environment(_HERE)
    environment.filters |= {
        "percent": percent,
        "percent_interval": percent_interval,
        "share": share_text,
        "fixed": fixed,
        "clipped": clipped,
        "heat": _heat,
        "by_group": by_group,
        "minus": true_minus,
    }
    style = inline(_HERE / "page.css")
    script = inline(*(_HERE / name for name in _SCRIPTS))
    return environment.get_template("page.html.j2").render(style=style, script=script, **content)
