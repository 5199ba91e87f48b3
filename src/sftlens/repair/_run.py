"""What ``sftlens repair`` does, whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sftlens import notebook
from sftlens.card import stated_licence
from sftlens.checkpoints import model_name, resolve_model
from sftlens.facts import facts_hash, facts_table, read_facts
from sftlens.mastery import read_mastery
from sftlens.output_folder import open_output
from sftlens.progress import progress
from sftlens.repair._candidates import AS_IT_IS, THE_BASE, Candidate, Restorations, Way, whole_model
from sftlens.repair._card import Told, command, model_card, task_name
from sftlens.repair._controls import controls
from sftlens.repair._decide import Decision, Verdict, decide
from sftlens.repair._echoed import without_echoed_table
from sftlens.repair._examine import Examiner
from sftlens.repair._explain import Written, why
from sftlens.repair._measure import Strata, strata
from sftlens.repair._page import page
from sftlens.repair._parts import divide_facts
from sftlens.repair._search import NUM_FINALISTS, Search, Searched, Standing
from sftlens.repair._settings import RepairSettings
from sftlens.repair._tables import Row, candidates_table, front_table
from sftlens.repair._task import open_task
from sftlens.storage_types import StorageType
from sftlens.texts import encodable, json_text
from sftlens.weights import (
    CheckpointPair,
    is_held_by_own_type,
    needed_bytes,
    open_pair,
    require_outside,
    stored_type,
    taken_back,
    write_restoration,
)

STAGE = "repair"
MODEL = "model"
CANDIDATES = "candidates.parquet"
FRONT = "front.parquet"
WITHOUT_ECHOED = "without_echoed.parquet"
EVALUATIONS = "evaluations.parquet"
FACTS = "facts.parquet"
REPAIR = "repair.json"
PAGE = "index.html"

_LEDGER = "ledger"
_RESUMED = (f"{_LEDGER}/*.parquet",)
_MAX_SEARCHED = 6  # candidates that are reported on beside the finalists
_FIXED = Candidate(Way("relative", 20.0))  # the paper's


@dataclass(frozen=True)
class RepairResult(notebook.Tabular):
    """What ``sftlens repair`` tells.

    Attributes:
        chosen: the choice: ``candidate``, ``method``, ``share``, ``groups``, its ``norm_removed``,
            the types that it was evaluated and is stored in, and ``why``, one paragraph.
        candidates: a row each of the table ``candidates``, on validation facts.
        front: a row each of the table ``front``, on test facts.
        decision: of each finalist, what the facts that the search did not see say.
        budget: evaluations on all validation questions that were allowed.
        evaluations: those that were used, a fraction too.
        num_test_evaluations: models that were asked the test facts, after the choice.
        num_facts: facts of each part: ``search``, ``decision``, ``test``.
        notes: on how models were aligned and facts divided.
        out: the folder.
        without_echoed: a row each of the table ``without_echoed``: the test facts whose answer
            does not stand in their own question (:func:`sftlens.facts.is_echoed`).
    """

    chosen: dict[str, Any]
    candidates: list[dict[str, Any]]
    front: list[dict[str, Any]]
    decision: list[dict[str, Any]]
    budget: int
    evaluations: float
    num_test_evaluations: int
    num_facts: dict[str, int]
    notes: list[str]
    out: str
    without_echoed: list[dict[str, Any]] = field(default_factory=list)

    def to_polars(self) -> pl.DataFrame:
        """A row a model on the test facts: the table ``front``."""
        return notebook.many_rows(self.front)

    def _repr_html_(self) -> str:
        shown = self.to_polars().drop("groups", strict=False)
        return notebook.as_html("repair, on test facts", shown, [self.chosen["why"], *self.notes])


def run_repair(
    base: str,
    tuned: str,
    source: str,
    out: Path,
    *,
    mastery: Path | None = None,
    settings: RepairSettings | None = None,
) -> RepairResult:
    """Search for the restoration that gives back most knowledge and keeps the task, and write it.

    The search sees validation facts alone, half of them to compare candidates and the other half
    to decide (:func:`sftlens.repair.decide`); test facts are asked once the choice stands, and are
    not counted in the budget. Every evaluation is kept beside ``out`` until the folder is whole:
    killed at any moment, the same call goes on from there and makes the same choice.

    The folder holds ``model``, the checkpoint with its card; the tables ``candidates``, ``front``,
    ``without_echoed``, ``evaluations`` and ``facts``; ``repair.json``; ``index.html``; the
    manifest. A finished folder of the same call is left as it is.

    Args:
        base: folder or hub id of the base model.
        tuned: folder or hub id of the tuned model, or of a LoRA adapter.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        out: the folder.
        mastery: folder that ``sftlens probe`` wrote for this base model. With it knowledge is the
            mean over mastery levels of the accuracy (paper section 4), without it plain accuracy;
            in both cases the mean of the domains.
        settings: see :class:`RepairSettings`.

    Raises:
        UserError: when an input is unusable, ``out`` holds something, or the disk is too small.
    """
    settings = settings or RepairSettings()
    grid = whole_model(settings)
    facts = read_facts(source).facts
    probed = None if mastery is None else read_mastery(mastery)
    levels = None if probed is None else probed.levels
    if probed is not None:
        probed.require_known([fact for fact in facts if fact.split != "train"], source)
    divided = divide_facts(facts, levels, seed=settings.seed, source=source)
    pair = open_pair(resolve_model(base), resolve_model(tuned, adapter=True))
    identities = pair.base_identity(), pair.tuned_identity()
    if probed is not None:
        probed.require_base(identities[0])
    require_outside(out, pair)
    task = open_task(settings)
    config = {
        "base": identities[0],
        "tuned": identities[1],
        "facts": facts_hash(facts),
        "mastery": None if probed is None else probed.key,
        "task": None if task is None else task.key,
        "settings": settings.model_dump(mode="json"),
    }
    with open_output(
        out, stage=STAGE, config=config, resumed=_RESUMED, temporary=(_LEDGER,)
    ) as output:
        if output.finished is not None:
            return RepairResult(**{**output.finished, "out": str(out)})
        work = output.work
        shutil.rmtree(work / MODEL, ignore_errors=True)  # what a killed call left
        output.require_space(needed_bytes(pair, 1, settings.dtype), advice="a smaller --dtype")
        ledger = work / _LEDGER
        ledger.mkdir(exist_ok=True)
        restorations = Restorations(pair, settings)
        examiner = Examiner(restorations, divided.parts, task, settings, ledger)
        searched, decision = _choose(examiner, grid, levels, settings)
        norms = _norms(restorations, [standing.candidate for standing in searched.standings])
        tables = _report(examiner, searched, decision, norms, levels, settings)
        front = tables[FRONT].to_dicts()
        own = front[0]
        written = _written(pair, restorations, decision.chosen)
        paragraph = why(
            decision,
            num_candidates=len(searched.standings),
            num_decision=len(divided.parts.decision),
            front=front,
            dtype=settings.dtype,
            written=written,
        )
        notes = [*pair.notes, *divided.notes, *([] if task is None else task.notes)]
        told = Told(
            base=model_name(pair.base.folder),
            tuned=model_name(pair.tuned.folder),
            hashes=(identities[0]["weights"], identities[1]["weights"]),
            licence=stated_licence(pair.base.folder, model_name(pair.base.folder)),
            facts=source,
            mastery=None if mastery is None else str(mastery),
            task=None if task is None else task.name,
            settings=settings,
            groups=[f"{group}: {way}" for group, way in decision.chosen.groups],
            chosen=str(decision.chosen.way),
            is_tuned=decision.chosen.is_tuned,
            why=paragraph,
            stored=written.stored,
            front=front,
            notes=notes,
        )
        card = model_card(told)
        _write_model(pair, restorations, decision.chosen, work / MODEL, card, written.dtype)
        result = RepairResult(
            chosen={
                **{name: own[name] for name in ("candidate", "method", "share", "alpha", "groups")},
                "norm_removed": own["norm_removed"],
                "evaluated_in": settings.dtype,
                "stored_in": written.stored,
                "why": paragraph,
            },
            candidates=tables[CANDIDATES].to_dicts(),
            front=front,
            decision=[_verdict(verdict) for verdict in decision.verdicts],
            budget=settings.budget,
            evaluations=examiner.spent / examiner.questions,
            num_test_evaluations=len(tables[FRONT]),
            num_facts={
                part: len(divided.parts.of(part)) for part in ("search", "decision", "test")
            },
            notes=notes,
            out=str(out),
            without_echoed=tables[WITHOUT_ECHOED].to_dicts(),
        )
        for name, table in tables.items():
            table.write_parquet(work / name)
        facts_table(fact for part in divided.parts for fact in part).write_parquet(work / FACTS)
        _write_texts(work, result, told, settings)
        output.complete(result.as_json())
    return result


def _choose(
    examiner: Examiner,
    grid: Sequence[Candidate],
    levels: Mapping[str, int] | None,
    settings: RepairSettings,
) -> tuple[Searched, Decision]:
    """Search on one half of the validation facts, decide on the other."""
    parts = examiner.parts
    search = Search(
        examiner,
        strata(parts.search, levels),
        grid,
        settings.shares,
        list(examiner.restorations.groups),
        max_task_loss=settings.max_task_loss,
        reserve=(NUM_FINALISTS + 1) * examiner.cost("decision"),
    )
    with progress("selecting", len(grid)) as advance:
        for candidate in grid:
            examiner.restorations.of(candidate)
            advance(1)
    with progress("searching", examiner.budget) as advance:
        examiner.advance = advance
        searched = search.run()
        asked = [AS_IT_IS, *searched.finalists]
        decided = decide(
            searched.finalists,
            {one: examiner.examine(one, "decision") for one in asked},
            {one: examiner.examine(one, "search") for one in asked},
            strata(parts.decision, levels),
            max_task_loss=settings.max_task_loss,
            seed=settings.seed,
        )
    return searched, decided


def _norms(restorations: Restorations, candidates: Sequence[Candidate]) -> dict[Candidate, float]:
    """What each candidate removes of the squared norm of the whole update, as it is evaluated."""
    wanted = [*dict.fromkeys([*candidates, _FIXED, AS_IT_IS, THE_BASE])]
    ways = [restorations.of(one) for one in wanted]
    pair = restorations.pair
    with progress("measuring", pair.num_parameters("all")) as advance:
        found = taken_back(pair, ways, dtype=restorations.dtype, advance=advance)
    return {one: taken.norm_removed for one, taken in zip(wanted, found, strict=True)}


def _written(pair: CheckpointPair, restorations: Restorations, chosen: Candidate) -> Written:
    """The type that the choice is written in, so that the file holds what was evaluated."""
    own = stored_type(tensor.tuned for tensor in pair.tensors.values())
    dtype = restorations.dtype
    if chosen.is_tuned or dtype == own:
        return Written(None, own, None)
    way = restorations.of(chosen)
    num_parameters = pair.num_parameters(way.region)
    with progress("comparing types", num_parameters + pair.num_parameters("all")) as advance:
        if is_held_by_own_type(pair, way, dtype, advance=advance):
            return Written(None, own, None)
        [rounded] = taken_back(pair, [way], advance=advance)
    return Written(dtype, own, rounded.norm_removed)


def _report(
    examiner: Examiner,
    searched: Searched,
    decision: Decision,
    norms: Mapping[Candidate, float],
    levels: Mapping[str, int] | None,
    settings: RepairSettings,
) -> dict[str, pl.DataFrame]:
    """The tables; asks the test facts, now that the choice stands."""
    chosen = decision.chosen
    # Without a choice the controls stand beside the best that was found.
    best = chosen if not chosen.is_tuned else next(iter(searched.finalists), _FIXED)
    rows = [Row("chosen", chosen, norms[chosen])]
    rows += [Row("finalist", one, norms[one]) for one in searched.finalists if one != chosen]
    searched_front = [s.candidate for s in _undominated(searched.standings)]
    known = {row.candidate for row in rows}
    rows += [
        Row("searched", one, norms[one])
        for one in searched_front[:_MAX_SEARCHED]
        if one not in known
    ]
    rows.append(Row("fixed", _FIXED, norms[_FIXED]))
    matched = controls(best, norms[best], examiner.restorations, seed=settings.seed)
    rows += [Row("control", *control) for control in matched]
    rows += [Row("tuned", AS_IT_IS, norms[AS_IT_IS]), Row("base", THE_BASE, norms[THE_BASE])]
    with progress("reporting", len(rows) * examiner.cost("test")) as advance:
        examiner.advance = advance
        front = front_table(examiner, rows, strata(examiner.parts.test, levels), seed=settings.seed)
    of: Strata = strata(examiner.parts.search, levels)
    candidates = candidates_table(
        examiner,
        [standing.candidate for standing in searched.standings],
        norms,
        of,
        searched.finalists,
        chosen,
        seed=settings.seed,
    )
    return {
        CANDIDATES: candidates,
        FRONT: front,
        WITHOUT_ECHOED: without_echoed_table(examiner, rows, levels, seed=settings.seed),
        EVALUATIONS: examiner.evaluations(),
    }


def _undominated(standings: Sequence[Standing]) -> list[Standing]:
    """Those asked all facts that no other one beats in knowledge and task."""
    most = max((standing.num_facts for standing in standings), default=0)
    asked = [standing for standing in standings if standing.num_facts == most]
    return [
        one
        for one in asked
        if not any(
            (other.gain, other.task_gain) != (one.gain, one.task_gain)
            and other.gain >= one.gain
            and other.task_gain >= one.task_gain
            for other in asked
        )
    ]


def _write_model(
    pair: CheckpointPair,
    restorations: Restorations,
    chosen: Candidate,
    folder: Path,
    card: str,
    dtype: StorageType | None,
) -> None:
    folder.mkdir()
    way = restorations.of(chosen)
    with progress("writing", pair.num_parameters(way.region)) as advance:
        write_restoration(pair, way, folder, dtype=dtype, advance=advance)
    (folder / "README.md").write_text(encodable(card), encoding="utf-8")


def _write_texts(work: Path, result: RepairResult, told: Told, settings: RepairSettings) -> None:
    content = {**result.as_json(), "settings": settings.model_dump(mode="json")}
    text = json_text(content, indent=2)
    (work / REPAIR).write_text(text, encoding="utf-8")
    shown = {
        "why": told.why,
        "notes": told.notes,
        "base": told.base,
        "tuned": told.tuned,
        "task": task_name(told.task),
        "dtype": settings.dtype,
        "stored": told.stored,
        "command": command(told),
    }
    text = page(result.front, shown, result.without_echoed)
    (work / PAGE).write_text(encodable(text), encoding="utf-8")


def _verdict(verdict: Verdict) -> dict[str, Any]:
    found = verdict._asdict() | {"candidate": str(verdict.candidate)}
    if verdict.task_gain is not None:
        found["task_gain"] = verdict.task_gain._asdict()
    return found
