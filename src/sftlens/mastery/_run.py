"""The mastery folder: made by probing a base model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens import notebook
from sftlens.checkpoints import model_identity, resolve_model
from sftlens.facts import Fact, Topic, facts_hash, facts_table, is_echoed, read_facts, topics_with
from sftlens.generation import Completed, Decoding, Generator
from sftlens.manifest import content_key
from sftlens.mastery._folder import COMPLETIONS, FACTS, GREEDY, LEDGER, MASTERY, TEMPLATES
from sftlens.mastery._grade import added_up, level_sizes
from sftlens.mastery._ledgers import open_ledgers
from sftlens.mastery._probe import (
    ProbeSettings,
    Stores,
    graded,
    make_completions,
    num_completions,
    prompter_of,
    require_room,
)
from sftlens.mastery._prompts import Prompter
from sftlens.mastery._summary import summary
from sftlens.output_folder import open_output
from sftlens.progress import progress, silent
from sftlens.tables import scan_tables
from sftlens.team import Team

_PARTS = "parts"  # judged completions, group by group
_RESUMED = (f"{LEDGER}/*/*.jsonl", f"{LEDGER}/*/*.parquet")


class Serving(NamedTuple):
    """An endpoint that completes prompts, instead of a model in this process.

    See :class:`sftlens.generation.EndpointGenerator`; ``patience`` is in seconds.
    """

    url: str
    model: str | None = None
    concurrency: int = 16
    patience: float = 600.0


@dataclass(frozen=True)
class ProbeResult(notebook.Tabular):
    """What ``sftlens probe`` tells.

    Attributes:
        num_facts: facts graded.
        num_completions: completions they were graded by, greedy ones included.
        levels: facts of level 0 to 4.
        out: the mastery folder.
        topics: see :class:`Summary`, as the following.
        uncertain: share of each level's facts.
        standard_error: mean over the facts.
        categories: facts by category.
        examples: facts with a completion.
        notes: what has to be known beside, such as what an endpoint does not honour.
        num_echoed: facts whose answer stands in their own question
            (:func:`sftlens.facts.is_echoed`); None in a folder of a version that did not count.
        levels_without_echoed: facts of level 0 to 4 among the others.
    """

    num_facts: int
    num_completions: int
    levels: list[int]
    out: str
    topics: list[dict[str, Any]]
    uncertain: list[float | None]
    standard_error: float
    categories: dict[str, int] | None
    examples: list[dict[str, Any]]
    notes: list[str]
    num_echoed: int | None = None
    levels_without_echoed: list[int] | None = None

    def to_polars(self) -> pl.DataFrame:
        """A row a mastery level: level, num_facts, uncertain (a fraction)."""
        levels = range(len(self.levels))
        rows = zip(levels, self.levels, self.uncertain, strict=True)
        schema = {"level": pl.Int64, "num_facts": pl.Int64, "uncertain": pl.Float64}
        return pl.DataFrame(list(rows), schema=schema, orient="row")

    def _repr_html_(self) -> str:
        title = f"{self.num_facts:,} facts by mastery level"
        return notebook.as_html(title, self.to_polars(), [*self.notes, f"written to {self.out}"])


def run_probe(
    base: str,
    source: str,
    out: Path,
    settings: ProbeSettings,
    *,
    topics_file: Path | None = None,
    ledger: Path | None = None,
    serving: Serving | None = None,
    cut: bool = True,
) -> ProbeResult | None:
    """Probe a base model and write its mastery folder, whole or not at all.

    The folder holds the tables ``facts``, ``completions``, ``mastery``, ``templates`` and, with
    categories, ``greedy``, the manifest, and the ledger unless it lies elsewhere. Interrupted, the
    same call goes on from the completions that were made; a finished folder of the same call is
    left as it is. Started by ``accelerate launch`` or torchrun, the processes share the work.

    Args:
        base: folder or hub id of the base model; with ``serving`` its name.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        out: the mastery folder.
        settings: see :class:`ProbeSettings`.
        topics_file: own topics and templates, over those that are known.
        ledger: a folder to keep completions in for this and other probes.
        serving: the endpoint that completes the prompts.
        cut: whether a completion may end as soon as its outcome is settled.

    Returns:
        None in all processes but the first.

    Raises:
        UserError: when an input is unusable or ``out`` holds something else.
    """
    team = Team.of_environment()
    topics = topics_with(topics_file)
    facts = read_facts(source, topics=topics).facts
    require_room(len(facts), settings)
    prompter = prompter_of(facts, settings, topics)
    model = _Model.found(base, serving)
    config = {
        "base": model.identity,
        "facts": facts_hash(facts),
        "templates": _templates_key(facts, topics, settings),
        "settings": settings.model_dump(mode="json"),
    }
    total = num_completions(len(facts), settings)
    with ExitStack() as opened:
        with team.agree():
            output = opened.enter_context(
                open_output(out, stage="probe", config=config, resumed=_RESUMED, leads=team.leads)
            )
        if (finished := team.gather(output.finished)[0]) is not None:
            return ProbeResult(**{**finished, "out": str(out)}) if team.leads else None
        generator = model.generator(team)
        with ExitStack() as stack:
            kept = open_ledgers(ledger or output.work / LEDGER, model.identity, settings)
            stores = Stores(*map(stack.enter_context, kept))
            make_completions(
                generator,
                facts,
                settings,
                prompter,
                stores,
                cut=cut,
                rank=team.rank,
                size=team.size,
                advance=stack.enter_context(progress("probing", total)) if team.leads else silent,
            )
        team.meet()
        if not team.leads:
            return None
        work = output.work
        mastery = _write_tables(work, facts, settings, prompter, stores)
        echoed = [fact.fact_id for fact in facts if is_echoed(fact)]
        others = mastery.filter(~pl.col("fact_id").is_in(echoed))
        result = ProbeResult(
            num_facts=len(facts),
            num_completions=total,
            levels=level_sizes(mastery),
            out=str(out),
            **summary(facts, mastery, scan_tables([work / COMPLETIONS]))._asdict(),
            notes=list(getattr(generator, "notes", [])),
            num_echoed=len(echoed),
            levels_without_echoed=level_sizes(others),
        )
        output.complete(result.as_json())
    return result


class _Model(NamedTuple):
    """What is probed: a model folder, or the model of an endpoint."""

    identity: dict[str, Any]
    folder: Path | None
    endpoint: Any

    @classmethod
    def found(cls, base: str, serving: Serving | None) -> _Model:
        if serving is None:
            folder = resolve_model(base)
            return cls(model_identity(folder), folder, None)
        from sftlens.generation import EndpointGenerator

        endpoint = EndpointGenerator(
            serving.url,
            serving.model,
            concurrency=serving.concurrency,
            patience=serving.patience,
        )
        served = endpoint.identity()
        return cls({**served, "served_as": served["name"], "name": base}, None, endpoint)

    def generator(self, team: Team) -> Generator:
        if self.folder is None:
            generator: Generator = self.endpoint
            return generator
        return _LoadedWhenNeeded(self.folder, team)


class _LoadedWhenNeeded:
    """A generator whose model is loaded when there is something to complete."""

    def __init__(self, folder: Path, team: Team) -> None:
        self._folder, self._team = folder, team
        self._generator: Generator | None = None

    def complete(
        self, prompts: Sequence[str], decoding: Decoding, **options: Any
    ) -> Iterator[list[Completed]]:
        """See :meth:`Generator.complete`."""
        if self._generator is None:
            from sftlens.generation import TransformersGenerator, load_model

            model, tokenizer, _ = load_model(self._folder, device=self._team.device)
            self._generator = TransformersGenerator(model, tokenizer)
        return self._generator.complete(prompts, decoding, **options)


def _write_tables(
    folder: Path,
    facts: Sequence[Fact],
    settings: ProbeSettings,
    prompter: Prompter,
    stores: Stores,
) -> pl.DataFrame:
    """Write the tables into the folder, the large ones group by group.

    Returns:
        The mastery table.
    """
    parts = folder / _PARTS
    mastery, templates = [], []
    for number, group in enumerate(graded(facts, settings, prompter, stores)):
        for name, table in ((COMPLETIONS, group.completions), (GREEDY, group.greedy)):
            if table is not None:
                (parts / name).mkdir(parents=True, exist_ok=True)
                table.write_parquet(parts / name / f"{number:06d}.parquet")
        mastery.append(group.mastery)
        templates.append(group.templates)
    for name in sorted(path.name for path in parts.iterdir()):
        scan_tables(sorted((parts / name).iterdir())).sink_parquet(folder / name)
    shutil.rmtree(parts)
    facts_table(facts).write_parquet(folder / FACTS)
    whole = pl.concat(mastery)
    whole.write_parquet(folder / MASTERY)
    added_up(templates).write_parquet(folder / TEMPLATES)
    return whole


def _templates_key(
    facts: Sequence[Fact], topics: Mapping[str, Topic], settings: ProbeSettings
) -> str:
    used = {fact.topic for fact in facts if fact.topic in topics}
    return content_key({topic: topics[topic].templates[: settings.num_templates] for topic in used})
