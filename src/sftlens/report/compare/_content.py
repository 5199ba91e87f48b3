"""What the page of a comparison says, from the table of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from sftlens.report._findings import DOMAIN_NAMES, groups, method_name
from sftlens.report._judged import JudgedClaim, worded
from sftlens.report._shift import RANKINGS
from sftlens.report._wording import NOT_MEASURED, Sign, listed, number, percent, share_text, sign
from sftlens.report.compare._lines import (
    Axis,
    Chart,
    Group,
    Line,
    axis_over,
    difference_of,
    first_of,
    line,
    share_or_none,
    with_difference,
)
from sftlens.report.compare._numbers import (
    ACCURACY,
    CONCENTRATION,
    FACTS,
    GAIN,
    REMOVED,
    RESTORED,
)
from sftlens.report.compare._settings import Setting
from sftlens.report.compare._sources import Shared, Source
from sftlens.report.paper._shift import KL
from sftlens.report.paper._training import MEAN
from sftlens.scoring import NUM_LEVELS

_VERBS = {
    Sign.POSITIVE: "answers more than run 1",
    Sign.NEGATIVE: "answers less than run 1",
    Sign.UNCLEAR: "cannot be told apart from run 1",
}

Rows = list[dict[str, Any]]


class Claim(NamedTuple):
    """A claim of the paper, and what each run says of it; None where a run does not judge it."""

    sentence: str
    paper: str
    domain: str | None
    verdicts: list[JudgedClaim | None]

    @property
    def differs(self) -> bool:
        """Whether the runs that measured it decide it otherwise."""
        return decided_otherwise(one.decision for one in self.verdicts if one is not None)


class Shown(NamedTuple):
    """The training size that is shown of a level.

    Attributes:
        sizes: of each run, as asked for; None where the run has no such level.
        common: whether it is the same for all runs that have the level.
    """

    sizes: list[int | None]
    common: bool


def decided_otherwise(decisions: Iterable[str]) -> bool:
    """Whether decisions on one claim differ; what was not measured is no decision."""
    return len(set(decisions) - {NOT_MEASURED}) > 1


def facts_sentences(sources: Sequence[Source], shared: Sequence[Shared | None]) -> list[str]:
    """Whether the runs were asked the same facts."""
    told = []
    for place, (source, common) in enumerate(zip(sources, shared, strict=True)):
        if not place:
            continue
        name = f"Run {place + 1}"
        if common is None:
            which = name if source.answers is None else "Run 1"
            told.append(f"{which} has no scored test facts, so {name.lower()} is not compared.")
            continue
        if not common.num_shared:
            told.append(
                f"{name} was asked other test facts than run 1 ({number(common.num_own)} and "
                f"{number(common.num_first)}, none the same): each stands for itself, and no "
                "difference between them is taken."
            )
            continue
        if common.all_shared:
            text = f"{name} was asked the same {number(common.num_shared)} test facts as run 1"
        else:
            text = (
                f"{name} was not asked the same test facts as run 1: "
                f"{number(common.num_shared)} are shared, of {number(common.num_own)} and "
                f"{number(common.num_first)}; differences are over the shared ones"
            )
        if common.same_levels:
            training = " It was trained on the same facts too." * common.same_training
            told.append(
                f"{text}, and its base model has them at the same mastery levels.{training}"
            )
        else:
            told.append(
                f"{text}. Its base model has them at other mastery levels, so training sets of one "
                "level are not the same, and a difference is the mean over facts, not over levels."
            )
    return told


def shown_sizes(numbers: pl.DataFrame, labels: Sequence[str], quantity: str) -> dict[int, Shown]:
    """Of each training level the largest size that all runs have, or each run's own largest."""
    rows = numbers.filter(pl.col("quantity") == quantity)
    found = {}
    for level in sorted(set(rows["level"])):
        of_level = rows.filter(pl.col("level") == level)
        sizes = [set(of_level.filter(pl.col("run") == label)["size"]) for label in labels]
        having = [one for one in sizes if one]
        common = set.intersection(*having)
        found[level] = Shown(
            [max(common or one) if one else None for one in sizes],
            bool(common) and len(having) == len(labels),
        )
    return found


def difference_sentences(numbers: pl.DataFrame, sources: Sequence[Source]) -> list[str]:
    """For each run and domain, at which training levels it differs from the first run."""
    labels = [source.label for source in sources]
    shown = shown_sizes(numbers, labels, ACCURACY)
    told = []
    for place in range(1, len(sources)):
        parts = []
        for domain in DOMAIN_NAMES:
            verbs = {}
            for level, one in shown.items():
                row = _accuracy(numbers, labels[place], domain, level, one.sizes[place])
                effect = difference_of(row)
                if effect is not None:
                    verbs[level] = _VERBS[sign(effect)]
            if verbs:
                parts.append(f"{DOMAIN_NAMES[domain]} it {groups(verbs, list(_VERBS.values()))}")
        if parts:
            told.append(
                f"Run {place + 1} at the largest size that all runs have: {'; '.join(parts)}."
            )
    return told


def claims_of(sources: Sequence[Source], claims: pl.DataFrame) -> list[Claim]:
    """The paper's claims in the order of the first run that judges them."""
    by_run: list[dict[str, JudgedClaim]] = []
    for source in sources:
        rows = claims.filter(pl.col("run") == source.label).iter_rows(named=True)
        by_run.append({row["claim"]: worded(row) for row in rows})
    names = dict.fromkeys(name for one in by_run for name in one)
    found = []
    for name in names:
        verdicts = [one.get(name) for one in by_run]
        told = next(one for one in verdicts if one is not None)
        found.append(Claim(told.sentence, told.paper, told.domain, verdicts))
    return found


def claims_sentence(claims: Sequence[Claim]) -> str:
    """How many claims the runs decide alike."""
    differing = sum(claim.differs for claim in claims)
    if not claims:
        return "No run judges the paper’s claims."
    if not differing:
        return f"All {len(claims)} claims of the paper are decided alike."
    return (
        f"Of the paper’s {len(claims)} claims, {differing} "
        f"{'is' if differing == 1 else 'are'} decided otherwise in one run than in another."
    )


def settings_sentence(settings: Sequence[Setting]) -> str:
    """How many settings differ."""
    differing = [one for one in settings if one.differs]
    if not differing:
        return "The runs do not differ in any setting, model or version."
    parts = {
        part: sum(one.part == part for one in differing)
        for part in dict.fromkeys(one.part for one in differing)
    }
    told = listed([f"{count} of the {part}" for part, count in parts.items()])
    return f"The runs differ in {told}."


def levels_rows(numbers: pl.DataFrame, labels: Sequence[str]) -> list[tuple[int, str, list[str]]]:
    """Test facts by mastery level: run, domain, counts of level 0 to 4 and all."""
    found = []
    for place, label in enumerate(labels):
        for domain, name in DOMAIN_NAMES.items():
            rows = _rows(numbers, FACTS, run=label, domain=domain)
            if rows:
                counts = [int(row["value"]) for row in rows]
                found.append((place, name, [number(count) for count in (*counts, sum(counts))]))
    return found


def accuracy_charts(numbers: pl.DataFrame, labels: Sequence[str]) -> list[Chart]:
    """Headline accuracy at the shown size of each training level, one chart a domain."""
    shown = shown_sizes(numbers, labels, ACCURACY)
    charts = []
    for domain, name in DOMAIN_NAMES.items():
        rows = _rows(numbers, ACCURACY, domain=domain, test_level=MEAN)
        if not rows:
            continue
        axis = axis_over(rows)
        found = []
        for level, one in shown.items():
            lines = []
            for place, (label, size) in enumerate(zip(labels, one.sizes, strict=True)):
                row = _accuracy(numbers, label, domain, level, size)
                lines.append(with_difference(line(place, row, axis, "fraction"), row))
            found.append(Group(_level_title(level, one), lines))
        charts.append(Chart(f"accuracy-{domain}", name.capitalize(), "trained on", axis, found))
    return charts


def size_charts(numbers: pl.DataFrame, labels: Sequence[str]) -> list[Chart]:
    """The same at every size, one chart a training level and domain."""
    charts = []
    for domain, name in DOMAIN_NAMES.items():
        rows = _rows(numbers, ACCURACY, domain=domain, test_level=MEAN)
        axis = axis_over(rows)
        for level in sorted({row["level"] for row in rows}):
            own = [row for row in rows if row["level"] == level]
            found = []
            for size in sorted({row["size"] for row in own}):
                lines = []
                for place, label in enumerate(labels):
                    row = first_of([r for r in own if r["run"] == label and r["size"] == size])
                    lines.append(with_difference(line(place, row, axis, "fraction"), row))
                found.append(Group(number(size), lines))
            title = f"Trained on level {level}, {name}"
            charts.append(Chart(f"sizes-{level}-{domain}", title, "facts", axis, found))
    return charts


def test_level_rows(
    numbers: pl.DataFrame, labels: Sequence[str], domain: str
) -> list[tuple[str, int, list[dict[str, Any] | None]]]:
    """Accuracy by test level at the shown size: training level, run, test levels and their mean."""
    found = []
    for level, one in shown_sizes(numbers, labels, ACCURACY).items():
        for place, (label, size) in enumerate(zip(labels, one.sizes, strict=True)):
            cells = [
                _accuracy(numbers, label, domain, level, size, test_level)
                for test_level in (*map(str, range(NUM_LEVELS)), MEAN)
            ]
            if any(cells):
                found.append((_level_title(level, one), place, cells))
    return found


def kl_chart(numbers: pl.DataFrame, labels: Sequence[str]) -> Chart | None:
    """KL of tuned from base at the shown size of each training level."""
    rows = _rows(numbers, KL)
    if not rows:
        return None
    axis = axis_over(rows, scale=1.0)
    found = []
    for level, one in shown_sizes(numbers, labels, KL).items():
        lines = []
        for place, (label, size) in enumerate(zip(labels, one.sizes, strict=True)):
            own = [r for r in rows if (r["run"], r["level"], r["size"]) == (label, level, size)]
            lines.append(line(place, first_of(own), axis, "nats"))
        found.append(Group(_level_title(level, one), lines))
    return Chart("kl", "KL of tuned from base, nats", "trained on", axis, found)


def concentration_charts(numbers: pl.DataFrame, labels: Sequence[str]) -> list[Chart]:
    """The part of the change that the top parameters hold, by ranking; one chart a share."""
    rows = _rows(numbers, CONCENTRATION)
    axis = axis_over(rows) if rows else None
    charts = []
    for top in sorted({row["top"] for row in rows}):
        assert axis is not None
        found = []
        for ranking in RANKINGS:
            own = [row for row in rows if row["top"] == top and row["ranking"] == ranking]
            if own:
                lines = [
                    line(place, first_of([r for r in own if r["run"] == label]), axis, "fraction")
                    for place, label in enumerate(labels)
                ]
                found.append(Group(ranking, lines))
        title = f"Held by the top {share_text(top)}"
        charts.append(Chart(f"concentration-{top:g}", title, "ranking", axis, found))
    return charts


def gain_charts(numbers: pl.DataFrame, labels: Sequence[str]) -> list[Chart]:
    """What the best restoration of each method gains over the tuned model, by level and domain."""
    charts = []
    for domain, name in DOMAIN_NAMES.items():
        rows = _rows(numbers, GAIN, domain=domain)
        if not rows:
            continue
        axis = axis_over(rows)
        for level in sorted({row["level"] for row in rows}):
            own = [row for row in rows if row["level"] == level]
            found = [
                Group(
                    method_name(method),
                    [
                        _restored(numbers, place, label, own, method, axis)
                        for place, label in enumerate(labels)
                    ],
                )
                for method in dict.fromkeys(row["method"] for row in own)
            ]
            title = f"Trained on level {level}, {name}"
            charts.append(Chart(f"gain-{level}-{domain}", title, "method", axis, found))
    return charts


def _restored(
    numbers: pl.DataFrame, place: int, label: str, own: Rows, method: str, axis: Axis
) -> Line:
    row = first_of([r for r in own if r["run"] == label and r["method"] == method])
    found = line(place, row, axis, "points")
    if row is None:
        return found
    same = {key: row[key] for key in ("run", "level", "size", "method", "share")}
    after = first_of(_rows(numbers, RESTORED, domain=row["domain"], **same))
    took = first_of(_rows(numbers, REMOVED, **same))
    told = []
    if after is not None:
        told.append(f"accuracy {percent(after['value'])}")
    if took is not None:
        told.append(f"norm removed {percent(took['value'])}")
    share = f"{share_or_none(row['share'])} after {number(row['size'])} facts"
    return found._replace(note=f"{share}: {', '.join(told)}", tone="plain")


def _accuracy(
    numbers: pl.DataFrame,
    label: str,
    domain: str,
    level: int,
    size: int | None,
    test_level: str = MEAN,
) -> dict[str, Any] | None:
    if size is None:
        return None
    what = {"run": label, "domain": domain, "level": level, "size": size}
    return first_of(_rows(numbers, ACCURACY, test_level=test_level, **what))


def _rows(numbers: pl.DataFrame, quantity: str, **equal: Any) -> Rows:
    wanted = [pl.col("quantity") == quantity]
    wanted += [pl.col(column) == value for column, value in equal.items()]
    return numbers.filter(*wanted).to_dicts()


def _level_title(level: int, shown: Shown) -> str:
    sizes = listed(sorted({number(size) for size in shown.sizes if size is not None}))
    return f"level {level}, {sizes} facts"


def sections(numbers: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Anchors and names of what the runs have numbers of, in the order of the page."""
    present = set(numbers["quantity"])
    for anchor, name, needs in (
        ("accuracy", "Accuracy after fine-tuning", ACCURACY),
        ("divergence", "Shift of token probabilities", KL),
        ("concentration", "Where the weights moved", CONCENTRATION),
        ("restoration", "Best restorations", GAIN),
    ):
        if needs in present:
            yield anchor, name
