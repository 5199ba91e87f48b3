"""Which tables and figures the paper has, how each is made here, and how it is laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from sftlens.report._weights_map import MEASURES
from sftlens.report.inference import CLAIMS_SCHEMA
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._echoed import echoed_accuracy, echoed_levels
from sftlens.report.paper._exchange import FROM_BASE, FROM_TUNED, exchange
from sftlens.report.paper._gains import removed_norm, restoration_gains
from sftlens.report.paper._layout import Layout, Measure
from sftlens.report.paper._mastery import level_sizes, levels_by_topic, mastery_by_exposure
from sftlens.report.paper._places import change_by_place, restored_by_layer, restored_by_module
from sftlens.report.paper._restoration import layer_groups, restoration
from sftlens.report.paper._shift import (
    ACCURACY,
    KL,
    concentration,
    kl_by_run,
    well_known_and_kl,
)
from sftlens.report.paper._strategies import ALL_STRATEGIES, strategies
from sftlens.report.paper._study import Study
from sftlens.report.paper._tasks import other_tasks
from sftlens.report.paper._training import accuracy_by_level, accuracy_by_size
from sftlens.report.paper._training_set import training_set

_FROM_TUNED = Measure("vs. tuned", "difference", ("difference_low", "difference_high"))
_BESIDE_TUNED = Measure("Accuracy", beside=("difference_low", "difference_high"))
_MARKED = "; bold: surely above the tuned model, slanted: surely below"
_CELL = {"level": "Level", "size": "Size"}
_WAY = {**_CELL, "method": "Method", "share": "%"}


class Spec(NamedTuple):
    """One table or figure of the paper.

    Attributes:
        name: of its files.
        source: where the paper has it; empty where it has none.
        title: what it shows.
        make: gives its table, or raises NotMeasuredError.
        layout: of its LaTeX.
        expected: the column whose values tell the parts, and the parts that a whole study has.
    """

    name: str
    source: str
    title: str
    make: Callable[[Study], pl.DataFrame]
    layout: Layout
    expected: tuple[str, Sequence[str]] | None = None

    @property
    def caption(self) -> str:
        """The title, with the paper's own number."""
        return f"{self.title} (paper: {self.source})." if self.source else f"{self.title}."

    def holes(self, table: pl.DataFrame) -> list[str]:
        """What the table should have and does not."""
        if self.expected is None:
            return []
        column, parts = self.expected
        present = set(table[column])
        return [f"not measured: {part}" for part in parts if part not in present]


def claims(study: Study) -> pl.DataFrame:
    """The paper's claims, as the study judged them; :data:`CLAIMS_SCHEMA`.

    Raises:
        NotMeasuredError: when it did not.
    """
    table = study.whole("claims")
    if missing := [name for name in CLAIMS_SCHEMA if name not in table.columns]:
        raise NotMeasuredError(f"table claims has no column {missing[0]}")
    if table.is_empty():
        raise NotMeasuredError("table claims is empty")
    return table.select(CLAIMS_SCHEMA.names())


CONTENTS = (
    Spec(
        "level_sizes",
        "Tables 1 and 8",
        "Facts by mastery level",
        level_sizes,
        Layout(
            {"domain": "Domain", "split": "Split"},
            [Measure("Facts", "num_facts", None, "count")],
            across="level",
            across_title="Level",
        ),
    ),
    Spec(
        "accuracy_by_size",
        "Figures 2 and 6",
        "Accuracy (mean over mastery levels, percent) by level and number of training facts",
        accuracy_by_size,
        Layout({"domain": "", "level": "Level"}, [Measure("Accuracy")], groups=1, across="size"),
    ),
    Spec(
        "accuracy_by_level",
        "Table 2",
        "Accuracy (percent) by mastery level of the test facts",
        accuracy_by_level,
        Layout(
            {"domain": "", **_CELL},
            [Measure("Accuracy")],
            groups=2,
            across="test_level",
            across_title="On",
        ),
    ),
    Spec(
        "well_known_and_kl",
        "Figures 4 and 5",
        "Accuracy (percent) on in-domain test facts of level 4, and KL of tuned from base (nats)",
        well_known_and_kl,
        Layout(
            {"quantity": "", "level": "Level"},
            [Measure("Value", unit="unit")],
            groups=1,
            across="size",
        ),
        ("quantity", (ACCURACY, KL)),
    ),
    Spec(
        "concentration",
        "Table 3",
        "Share (percent) of the summed change that the top k % of the parameters hold, and of the "
        "top's changed entries that have a base of 0 or below 1e-4",
        concentration,
        Layout(
            {**_CELL, "ranking": "Ranking"},
            [Measure("Held")],
            groups=2,
            across="top",
            across_title="Top",
        ),
        ("ranking", ("relative", "null", "absolute")),
    ),
    Spec(
        "restoration",
        "Table 4",
        "Accuracy (mean over mastery levels, percent) by share (percent) restored" + _MARKED,
        restoration,
        Layout(
            {"domain": "", **_CELL, "method": "Method"},
            [_BESIDE_TUNED],
            groups=3,
            across="share",
        ),
    ),
    Spec(
        "other_tasks",
        "Table 5",
        "Other tasks (percent where a metric is a fraction) by share (percent) restored",
        other_tasks,
        Layout(
            {"task": "Task", "metric": "Metric", **_CELL, "method": "Method"},
            [Measure("Value", unit="unit")],
            groups=4,
            across="share",
        ),
    ),
    Spec(
        "training_set",
        "Table 6",
        "Accuracy (percent) on the training facts by share (percent) restored" + _MARKED,
        training_set,
        Layout({**_CELL, "method": "Method"}, [_BESIDE_TUNED], groups=2, across="share"),
    ),
    Spec(
        "strategies",
        "Table 7",
        "Accuracy (mean over mastery levels, percent) by strategy, and points over training by "
        "level",
        strategies,
        Layout(
            {"strategy": "Strategy", **_WAY},
            [
                Measure("Accuracy"),
                Measure("vs. by level", "difference", ("difference_low", "difference_high")),
            ],
            across="domain",
        ),
        ("strategy", ALL_STRATEGIES),
    ),
    Spec(
        "restored_by_layer",
        "Table 9",
        "Share (percent) of the restored entries that had changed, by layer and share restored",
        restored_by_layer,
        Layout(
            {**_CELL, "layer": "Layer"},
            [Measure("Restored")],
            groups=2,
            across="share",
            across_title="Share",
        ),
    ),
    Spec(
        "restored_by_module",
        "Table 10",
        "Share (percent) of the restored entries that had changed, by module and share restored",
        restored_by_module,
        Layout(
            {**_CELL, "module": "Module"},
            [Measure("Restored")],
            groups=2,
            across="share",
            across_title="Share",
        ),
    ),
    Spec(
        "layer_groups",
        "Table 11",
        "Accuracy (mean over mastery levels, percent) after whole layer groups were restored",
        layer_groups,
        Layout(
            {**_CELL, "first_layer": "From layer", "last_layer": "To layer"},
            [Measure("Accuracy"), _FROM_TUNED],
            groups=2,
            across="domain",
        ),
    ),
    Spec(
        "exchange",
        "",
        "Facts lost and gained (percent of the test facts), beside those of scoring twice",
        exchange,
        Layout(
            {"compared": "", "domain": "", **_WAY},
            [Measure("Facts")],
            groups=2,
            across="quantity",
            across_names={
                "lost_over_floor": ("lost", "over floor"),
                "gained_over_floor": ("gained", "over floor"),
            },
            only={"quantity": ["lost", "gained", "net", "lost_over_floor", "gained_over_floor"]},
        ),
        ("compared", (FROM_BASE, FROM_TUNED)),
    ),
    Spec(
        "echoed_levels",
        "",
        "Facts by mastery level, and those of them whose answer stands in their own question",
        echoed_levels,
        Layout(
            {"domain": "", "split": "Split"},
            [
                Measure("Facts", "num_facts", None, "count"),
                Measure("Echoed", "num_echoed", None, "count"),
            ],
            groups=1,
            across="level",
            across_title="Level",
        ),
    ),
    Spec(
        "echoed_accuracy",
        "",
        "Accuracy (mean over mastery levels, percent) with and without the facts whose answer "
        "stands in their own question",
        echoed_accuracy,
        Layout({"domain": "", **_CELL}, [Measure("Accuracy")], groups=1, across="facts"),
    ),
    Spec(
        "levels_by_topic",
        "",
        "Facts by topic and mastery level",
        levels_by_topic,
        Layout(
            {"domain": "", "topic": "Topic"},
            [Measure("Facts", "num_facts", None, "count")],
            groups=1,
            across="level",
            across_title="Level",
        ),
    ),
    Spec(
        "mastery_by_exposure",
        "",
        "Mean mastery (percent) by how often pre-training showed the fact",
        mastery_by_exposure,
        Layout(
            {"exposure": "Shown"},
            [Measure("Mastery"), Measure("Facts", "num_facts", None, "count")],
        ),
    ),
    Spec(
        "kl_by_run",
        "",
        "KL of each tuned model from its base (nats), and accuracy (percent) on the same facts",
        kl_by_run,
        Layout(
            {**_CELL, "seed": "Seed"},
            [Measure("KL", "kl", None, "nats"), Measure("Accuracy", interval=None)],
        ),
    ),
    Spec(
        "change_by_place",
        "",
        "Share (percent) of the summed change by layer and module, mean of the runs",
        change_by_place,
        Layout(
            {"measure": "", "layer": "Layer"},
            [Measure("Held", interval=None)],
            groups=1,
            across="module",
        ),
        ("measure", MEASURES),
    ),
    Spec(
        "restoration_gains",
        "",
        "Points over the tuned model at the share (percent) that does best on other facts",
        restoration_gains,
        Layout(
            {"domain": "", **_WAY},
            [_FROM_TUNED],
            groups=3,
        ),
    ),
    Spec(
        "removed_norm",
        "",
        "Share (percent) of the update’s squared norm that a restoration takes out, by share "
        "(percent) restored",
        removed_norm,
        Layout({"method": "Method"}, [Measure("Removed")], across="share"),
    ),
    Spec(
        "claims",
        "",
        "The paper’s claims (effects of accuracy and fractions in percent)",
        claims,
        Layout(
            {"source": "", "sentence": "Claim", "domain": "Domain"},
            [
                Measure("Paper", "paper", None, "text"),
                Measure("Effect", "effect", ("low", "high"), "unit"),
                Measure("Decision", "decision", None, "text"),
            ],
            groups=1,
            wide={"sentence": 0.24, "paper": 0.19, "decision": 0.12},
        ),
    ),
)
