"""What ``sftlens advise`` does, whole."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens import notebook
from sftlens.advice import _paper
from sftlens.advice._advice import (
    Dropped,
    Graded,
    Statement,
    dropped,
    graded_levels,
    papers_statements,
    pilot_statements,
    rough_levels,
    unpiloted,
)
from sftlens.advice._candidates import Candidate, grid, recipe
from sftlens.advice._decide import Choice, choose, larger_sizes, rivals
from sftlens.advice._measure import Answers, Measure
from sftlens.advice._page import page
from sftlens.advice._pilots import Pilots, Sources
from sftlens.advice._pools import Pools, pools, require_enough
from sftlens.advice._search import num_candidates, search
from sftlens.advice._settings import AdviseSettings
from sftlens.advice._tables import (
    CANDIDATES_SCHEMA,
    answers_table,
    candidates_table,
    pilots_table,
    unmeasured_table,
)
from sftlens.checkpoints import model_identity, resolve_model
from sftlens.facts import Fact, facts_hash, facts_table, read_facts
from sftlens.manifest import MANIFEST
from sftlens.mastery import Mastery, ProbeSettings, read_mastery, run_probe
from sftlens.output_folder import open_output
from sftlens.outputs import new_file
from sftlens.study import RECORD, Store
from sftlens.texts import encodable, json_text
from sftlens.tuning import choose_training_facts

STAGE = "advise"
ADVICE = "advice.json"
PAGE = "advice.md"
FACTS = "facts.parquet"
CANDIDATES = "candidates.parquet"
PILOTS = "pilots.parquet"
ANSWERS = "answers.parquet"
MASTERY = "mastery"

_JOBS = "jobs"
_POOL = "pool.parquet"
_RESUMED = (
    f"{MASTERY}/{MANIFEST}",
    f".{MASTERY}.probe-*",
    f"{_JOBS}/*/*/{RECORD}",
)


@dataclass(frozen=True)
class AdviceResult(notebook.Tabular):
    """What ``sftlens advise`` tells.

    Attributes:
        advice: ``train_on`` (``levels``, ``size``, ``seed``; None where nothing is), ``drop`` (by
            level), ``expect`` (accuracies, of which None is not measured), ``statements`` with
            their evidence, ``limits``, ``basis`` (``pilot`` or ``paper``), and ``command``.
        candidates: a row each of the table ``candidates``.
        levels: the training facts by level, see :class:`sftlens.advice._advice.Graded`.
        budget: training runs that the pilot was allowed; 0 without one.
        num_runs: those that were made.
        num_facts: of the training facts, of validation, and of the advised ones.
        notes: what was done to the splits.
        out: the folder.
    """

    advice: dict[str, Any]
    candidates: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    budget: int
    num_runs: int
    num_facts: dict[str, int]
    notes: list[str]
    out: str

    def to_polars(self) -> pl.DataFrame:
        """A row a candidate, on validation facts: the table ``candidates``."""
        return pl.DataFrame(self.candidates, schema=CANDIDATES_SCHEMA)

    def _repr_html_(self) -> str:
        told = [f"{one['advice']} {one['evidence']}" for one in self.advice["statements"]]
        if self.advice["command"] is not None:
            told.append(self.advice["command"])
        notes = [*told, *self.notes, f"written to {self.out}; advice.md has it all"]
        title = "candidates, on validation facts" if self.num_runs else "candidates, not measured"
        return notebook.as_html(title, self.to_polars().drop("levels"), notes)


def run_advise(
    base: str,
    source: str,
    out: Path,
    *,
    mastery: Path | None = None,
    settings: AdviseSettings | None = None,
) -> AdviceResult:
    """Advise on which facts to fine-tune a base model, how many, and what to expect.

    Facts of the test split are neither asked nor trained on. The folder holds ``facts``, the
    training facts that are advised; the tables ``candidates`` and, of a pilot, ``pilots`` and
    ``answers``; ``advice.json`` and ``advice.md``; the manifest; and ``mastery``, where this call
    graded the facts. Completions and pilot runs are kept beside ``out`` until it is whole: killed
    at any moment, the same call goes on from there and gives the same advice. A finished folder of
    the same call is left as it is.

    Args:
        base: folder or hub id of the base model.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        out: the folder.
        mastery: folder that ``sftlens probe`` wrote for this base model; without it the training
            and validation facts are probed with the paper's settings.
        settings: see :class:`AdviseSettings`.

    Raises:
        UserError: when an input is unusable, ``out`` holds something, another call is at work on
            it, or a pilot run failed.
    """
    settings = settings or AdviseSettings()
    found = pools(read_facts(source).facts, seed=settings.seed, source=source, pilot=settings.pilot)
    folder = resolve_model(base)
    identity = model_identity(folder)
    probed = None if mastery is None else read_mastery(mastery)
    if probed is not None:
        probed.require_base(identity)
        probed.require_known(found.training, source)
        found = found.graded(probed.levels)
    if settings.pilot:
        require_enough(found, source)
    probe = ProbeSettings()
    pool_hash = facts_hash(found.facts)
    config = {
        "base": identity,
        "facts": pool_hash,
        "mastery": probe.model_dump(mode="json") if probed is None else probed.key,
        "settings": settings.model_dump(mode="json"),
    }
    with open_output(
        out, stage=STAGE, config=config, resumed=_RESUMED, temporary=(_POOL, _JOBS)
    ) as output:
        if output.finished is not None:
            return AdviceResult(**{**output.finished, "out": str(out)})
        work = output.work
        store = Store(work / _JOBS)
        pool = work / _POOL
        with new_file(pool) as partial:
            facts_table(found.facts).write_parquet(partial)
        if probed is None:
            run_probe(str(folder), str(pool), work / MASTERY, probe)
            probed = read_mastery(work / MASTERY)
        told = _Told(base, out, mastery or out / MASTERY, settings)
        if settings.pilot:
            sources = Sources(
                folder.resolve(),
                {part: own for part, own in identity.items() if part != "name"},
                pool,
                pool_hash,
                probed.folder.resolve(),
                probed.key,
            )
            with Pilots(store, sources, settings) as pilots:
                result = _with_pilot(pilots, found, probed, told, work)
        else:
            result = _without_pilot(found, probed, told, work)
        _write(work, result, config)
        output.complete(result.as_json())
    return result


class _Told(NamedTuple):
    """What the command was given."""

    base: str
    out: Path
    mastery: Path
    settings: AdviseSettings


def _with_pilot(
    pilots: Pilots, found: Pools, probed: Mastery, told: _Told, work: Path
) -> AdviceResult:
    settings, levels = told.settings, probed.levels
    graded = graded_levels(probed.table, [fact.fact_id for fact in found.training])
    available = [one.num_facts for one in graded]
    measure = Measure(found.validation, levels, seed=settings.seed)
    papers = recipe(available)
    candidates = grid(available, settings.sizes, num_candidates(settings.budget))

    def answers() -> dict[Candidate, Answers]:
        return {one: pilots.answers(one) for one in pilots.runs}

    def choice() -> Choice:
        return choose(
            answers(), pilots.base_answers(), measure, recipe=papers, max_loss=settings.max_loss
        )

    def contenders() -> list[Candidate]:
        now = choice()
        wanted = [now.best, now.chosen, *([papers] if papers in pilots.runs and papers else [])]
        return list(dict.fromkeys(wanted))

    search(pilots, candidates, lambda one: measure.all.mean(pilots.answers(one)), contenders)
    final, measured = choice(), answers()
    chosen = final.chosen if final.is_worth_it else None
    table = candidates_table(measured, pilots.base_answers(), measure, chosen=chosen, recipe=papers)
    table.write_parquet(work / CANDIDATES)
    pilots_table(pilots, measure).write_parquet(work / PILOTS)
    answers_table(pilots).write_parquet(work / ANSWERS)
    rows = {row["candidate"]: row for row in table.to_dicts()}
    [expected] = [row for row in rows.values() if row["chosen"]]
    return _result(
        told,
        found,
        levels,
        work,
        chosen=chosen,
        graded=graded,
        table=table,
        statements=pilot_statements(
            final,
            larger_sizes(measured, measure),
            rows,
            num_facts=len(measure.all.members),
            recipe=papers,
        ),
        drop=dropped(chosen, graded, rivals(final.chosen, measured, measure), basis="pilot"),
        expect={
            name: _expected(expected, column, "validation facts, on which the choice was made too")
            for name, column in (
                ("in all", "knowledge"),
                ("in-domain", "knowledge_in"),
                ("out-of-domain", "knowledge_out"),
                ("facts of level 3 and 4", "known"),
            )
        },
        num_runs=pilots.num_runs,
    )


def _without_pilot(found: Pools, probed: Mastery, told: _Told, work: Path) -> AdviceResult:
    graded = graded_levels(probed.table, [fact.fact_id for fact in found.training])
    available = [one.num_facts for one in graded]
    chosen, papers = unpiloted(available), recipe(available)
    candidates = [one for one in (chosen, papers) if one is not None]
    table = unmeasured_table(list(dict.fromkeys(candidates)), chosen=chosen, recipe=papers)
    table.write_parquet(work / CANDIDATES)
    expected = None
    if chosen is not None:
        lowest = min(_paper.AT_240[level] for level in chosen.levels)
        expected = {
            "value": lowest,
            "low": None,
            "high": None,
            "rests_on": f"the paper's {_paper.MODEL} after 240 facts of the least of these levels; "
            "not this model",
        }
    return _result(
        told,
        found,
        probed.levels,
        work,
        chosen=chosen,
        graded=graded,
        table=table,
        statements=papers_statements(chosen, graded),
        drop=dropped(chosen, graded, {}, basis="paper"),
        expect={"in-domain": expected},
        num_runs=0,
    )


def _result(
    told: _Told,
    found: Pools,
    levels: Mapping[str, int],
    work: Path,
    *,
    chosen: Candidate | None,
    graded: Sequence[Graded],
    table: pl.DataFrame,
    statements: Sequence[Statement],
    drop: Sequence[Dropped],
    expect: Mapping[str, Any],
    num_runs: int,
) -> AdviceResult:
    settings = told.settings
    advised: list[Fact] = []
    if chosen is not None:
        level = chosen.levels[0] if len(chosen.levels) == 1 else chosen.levels
        advised = choose_training_facts(
            found.training, levels, level=level, size=chosen.size, seed=settings.seed
        )
    facts_table(advised).write_parquet(work / FACTS)
    advice = {
        "train_on": None
        if chosen is None
        else {"levels": list(chosen.levels), "size": chosen.size, "seed": settings.seed},
        "drop": [one._asdict() for one in drop],
        "expect": dict(expect),
        "statements": [one._asdict() for one in [*statements, *rough_levels(chosen, graded)]],
        "limits": _limits(settings),
        "basis": "pilot" if settings.pilot else "paper",
        "command": None if chosen is None else _command(told),
    }
    return AdviceResult(
        advice=advice,
        candidates=table.to_dicts(),
        levels=[one._asdict() for one in graded],
        budget=settings.budget if settings.pilot else 0,
        num_runs=num_runs,
        num_facts={
            "training": len(found.training),
            "validation": len(found.validation),
            "advised": len(advised),
        },
        notes=found.notes,
        out=str(told.out),
    )


def _expected(row: Mapping[str, Any], column: str, rests_on: str) -> dict[str, Any] | None:
    if row[column] is None:
        return None
    ends = {end: row[f"{column}_{end}"] for end in ("low", "high")}
    return {"value": row[column], **ends, "rests_on": rests_on}


def _limits(settings: AdviseSettings) -> list[str]:
    told = [
        "Levels belong to this base model; the same facts have other levels in another.",
        "A fact without a hit can still be known a little: level 0 is always uncertain.",
    ]
    if settings.pilot:
        told += [
            "The choice was made on the facts that it is told on, so that it looks somewhat better "
            "than it is; ask the test facts with `sftlens score`.",
            "Many comparisons stand here: at 95 %, about one in twenty of those without any effect "
            "looks sure by chance.",
            f"It holds for this way of training: learning rate {settings.tune.learning_rate:g}, "
            f"batch {settings.tune.batch_size}, epochs {settings.tune.num_epochs}.",
        ]
    return told


def _command(told: _Told) -> str:
    tune = told.settings.tune
    default = type(tune)()
    words = ["sftlens", "tune", told.base, str(told.out / FACTS), "--mastery", str(told.mastery)]
    for name in ("learning_rate", "batch_size", "num_epochs"):
        if getattr(tune, name) != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", f"{getattr(tune, name):g}"]
    words += ["--gradient-checkpointing"] if tune.gradient_checkpointing else []
    words += ["--seed", str(told.settings.seed)] if told.settings.seed else []
    return shlex.join([*words, "--out", "tuned"])


def _write(work: Path, result: AdviceResult, config: Mapping[str, Any]) -> None:
    content = {**result.as_json(), "settings": config["settings"]}
    text = json_text(content, indent=2)
    (work / ADVICE).write_text(text, encoding="utf-8")
    (work / PAGE).write_text(encodable(page(result.as_json())), encoding="utf-8")
