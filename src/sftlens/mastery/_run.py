"""The mastery folder: made by probing a base model, read by everything that asks for levels."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sftlens.checkpoints import model_identity, resolve_model
from sftlens.errors import UserError
from sftlens.facts import Fact, builtin_topics, facts_hash, facts_table, read_facts
from sftlens.manifest import content_key, finished_result, read_manifest, write_manifest
from sftlens.mastery._probe import MASTERY_SCHEMA, ProbeSettings, level_sizes, probe
from sftlens.outputs import new_folder, work_folder
from sftlens.progress import progress
from sftlens.tables import read_table

COMPLETIONS = "completions.parquet"
MASTERY = "mastery.parquet"
FACTS = "facts.parquet"
_PARTS = "parts"  # completions as they are made, which the table takes up in the end


class ProbeResult(NamedTuple):
    """What ``sftlens probe`` tells.

    Attributes:
        num_facts: facts graded.
        num_completions: completions they were graded by.
        levels: facts of level 0 to 4.
        out: the mastery folder.
    """

    num_facts: int
    num_completions: int
    levels: list[int]
    out: str


def run_probe(base: str, source: str, out: Path, settings: ProbeSettings) -> ProbeResult:
    """Probe a base model and write its mastery folder, whole or not at all.

    The folder holds the tables ``facts``, ``completions`` and ``mastery`` and the manifest.
    Interrupted, the same call goes on from the completions that were made; a finished folder of
    the same call is left as it is.

    Args:
        base: folder or hub id of the base model.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        out: the mastery folder.
        settings: see :class:`ProbeSettings`.

    Raises:
        UserError: when an input is unusable or ``out`` holds something else.
    """
    facts = read_facts(source).facts
    folder = resolve_model(base)
    config = {
        "base": model_identity(folder),
        "facts": facts_hash(facts),
        "templates": _templates_key(facts, settings.num_templates),
        "settings": settings.model_dump(mode="json"),
    }
    if finished := finished_result(out, stage="probe", config=config):
        shutil.rmtree(out / _PARTS, ignore_errors=True)
        return ProbeResult(**{**finished, "out": str(out)})
    with new_folder(out, work=work_folder(out, "probe", content_key(config))) as work:
        from sftlens.generation import TransformersGenerator, load_model

        model, tokenizer, _ = load_model(folder)
        total = len(facts) * settings.num_templates * settings.num_samples
        parts = work / _PARTS
        parts.mkdir(exist_ok=True)
        with progress("probing", total) as advance:
            completions, mastery = probe(
                TransformersGenerator(model, tokenizer),
                facts,
                settings,
                parts=parts,
                advance=advance,
            )
        facts_table(facts).write_parquet(work / FACTS)
        completions.write_parquet(work / COMPLETIONS)
        mastery.write_parquet(work / MASTERY)
        result = ProbeResult(len(facts), total, level_sizes(mastery), str(out))
        write_manifest(work, stage="probe", config=config, result=result._asdict())
    shutil.rmtree(out / _PARTS)
    return result


def _templates_key(facts: Sequence[Fact], num_templates: int) -> str:
    topics = builtin_topics()
    used = {fact.topic for fact in facts if fact.topic in topics}
    return content_key({topic: topics[topic].templates[:num_templates] for topic in used})


class Mastery(NamedTuple):
    """A mastery folder that was read.

    Attributes:
        folder: where it lies.
        table: one row a fact, :data:`sftlens.mastery.MASTERY_SCHEMA`.
        base: identity of the base model; levels belong to that model alone.
        key: stands for everything that the levels depend on.
    """

    folder: Path
    table: pl.DataFrame
    base: Mapping[str, str]
    key: str

    @property
    def levels(self) -> Mapping[str, int]:
        """Level by fact_id."""
        return dict(self.table.select("fact_id", "level").iter_rows())

    def completions(self) -> pl.DataFrame:
        """The judged completions, one row each.

        Raises:
            UserError: when the folder lost its table.
        """
        return read_table(self.folder / COMPLETIONS, remedy="probe again")

    def require_base(self, identity: Mapping[str, str]) -> None:
        """Refuse a base model other than the one that was probed.

        Raises:
            UserError: when weights, configuration or tokenizer differ.
        """
        if any(identity[part] != self.base.get(part) for part in ("weights", "files")):
            raise UserError(
                f"{self.folder}: holds the mastery of another model than {identity['name']}; "
                "probe this base model first"
            )


def read_mastery(folder: Path) -> Mastery:
    """Read a folder that ``sftlens probe`` wrote.

    Raises:
        UserError: when it is none, or its table is damaged.
    """
    content = read_manifest(folder, "probe")
    table = read_table(folder / MASTERY, remedy="probe again", columns=MASTERY_SCHEMA.names())
    base = content["config"].get("base") if isinstance(content.get("config"), dict) else None
    if not isinstance(base, dict):
        raise UserError(f"{folder}: its manifest does not name the base model; probe again")
    return Mastery(folder, table, base, str(content.get("config_key")))
