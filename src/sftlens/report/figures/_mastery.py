"""What the base model knew."""

from __future__ import annotations

from typing import Any

import polars as pl

from sftlens.report.figures._look import COLUMN, DOMAIN_TITLES, LEVELS, shown
from sftlens.report.figures._parts import curve, legend_below, panels, stacked, width

_MAX_TOPICS = 60  # that a page has room for


def level_sizes(table: pl.DataFrame) -> Any:
    """Bars of facts by domain and split."""
    parts = table.group_by("domain", "split", maintain_order=True).agg(pl.col("num_facts"))
    names = [
        f"{DOMAIN_TITLES.get(domain, shown(domain))}, {shown(split)}"
        for domain, split in parts.select("domain", "split").iter_rows()
    ]
    figure, axes = panels(COLUMN, 0.9 + 0.28 * len(parts))
    stacked(axes.flat[0], names, parts["num_facts"].to_list())
    legend_below(figure, axes.flat[0], 3)
    return figure


def levels_by_topic(table: pl.DataFrame) -> Any:
    """Bars of facts by topic, one panel a domain; of many topics, those of most facts."""
    topics = table.group_by("domain", "topic", maintain_order=True).agg(pl.col("num_facts"))
    domains = topics["domain"].unique(maintain_order=True).to_list()
    of_most_facts = pl.col("num_facts").list.sum().rank("ordinal", descending=True) <= _MAX_TOPICS
    wholes = [topics.filter(pl.col("domain") == domain) for domain in domains]
    parts = [whole.filter(of_most_facts) for whole in wholes]
    rows = max(map(len, parts))
    figure, axes = panels(width(domains), 0.9 + 0.19 * rows, columns=len(domains))
    for ax, domain, whole, part in zip(axes.flat, domains, wholes, parts, strict=True):
        stacked(ax, [shown(topic) for topic in part["topic"]], part["num_facts"].to_list())
        ax.set_ylim(rows - 0.5, -0.5)
        title = DOMAIN_TITLES.get(domain, shown(domain))
        left_out = f", {len(part)} of {len(whole)} topics" if len(part) < len(whole) else ""
        ax.set_title(title + left_out)
    legend_below(figure, axes.flat[0], 5 if len(domains) > 1 else 3)
    return figure


def mastery_by_exposure(table: pl.DataFrame) -> Any:
    """Mean mastery by the true number of times shown."""
    figure, axes = panels(COLUMN, 2.3)
    (ax,) = axes.flat
    curve(ax, range(len(table)), table, LEVELS[0], "mastery")
    ax.set_xticks(range(len(table)), table["exposure"])
    if len(table) > 8:
        for label in ax.get_xticklabels():
            label.set_rotation(90)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("times shown in pre-training")
    ax.set_ylabel("mastery (%)")
    return figure
