"""Ways of training, and of restoring, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from sftlens.report._findings import method_name
from sftlens.report._wording import bare_points, number, share_text
from sftlens.scoring import Estimate

_NAMES = {
    "base": "base model, not tuned",
    "instruct": "instruct model of its maker",
    "mixed": "facts of all levels mixed",
    "lora": "adapters (LoRA)",
    "by level": "facts of one level",
    "restoration": "restored",
}


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way, with its accuracy and its difference from training on one level, by domain."""

    name: str
    detail: str
    accuracy: dict[str, Estimate]
    over: dict[str, str]


def strategies_of(table: pl.DataFrame | None) -> list[Strategy]:
    """The rows of the paper's table of strategies, put together by domain; none without it."""
    if table is None:
        return []
    found: list[Strategy] = []
    keys = ("strategy", "method", "level", "size", "share")
    for _, group in table.group_by(keys, maintain_order=True):
        rows = list(group.drop_nulls("value").iter_rows(named=True))
        if not rows:
            continue
        first = rows[0]
        found.append(
            Strategy(
                name=_named(first),
                detail=_detail(first),
                accuracy={row["domain"]: _estimate(row, "value", "low", "high") for row in rows},
                over={
                    row["domain"]: bare_points(
                        _estimate(row, "difference", "difference_low", "difference_high")
                    )
                    for row in rows
                    if row["difference"] is not None
                },
            )
        )
    return found


def domains_of(found: Sequence[Strategy], domains: Sequence[str]) -> list[str]:
    """The domains that any strategy was measured in, in the order of the page."""
    return [domain for domain in domains if any(domain in one.accuracy for one in found)]


def _estimate(row: dict[str, float | None], value: str, low: str, high: str) -> Estimate:
    middle = row[value]
    assert middle is not None
    below, above = row[low], row[high]
    return Estimate(middle, middle if below is None else below, middle if above is None else above)


def _named(row: dict[str, str | None]) -> str:
    strategy = str(row["strategy"])
    if row["method"] is not None:
        return f"restored: {method_name(str(row['method']))}"
    return _NAMES.get(strategy, strategy)


def _detail(row: dict[str, int | float | None]) -> str:
    parts = []
    if row["level"] is not None:
        parts.append(f"level {row['level']}")
    if row["size"] is not None:
        parts.append(f"{number(row['size'])} facts")
    if row["share"] is not None:
        parts.append(share_text(float(row["share"])))
    return ", ".join(parts)
