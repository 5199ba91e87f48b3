"""Which facts did a fine-tuning lose?

A base model is asked each fact in many wordings, which gives its mastery R and a level from 0
(never right) to 4. Then the tuned model is asked the same facts once, as it was tuned to be asked.
A fact that the base has mastered (level 3 or 4) and that the tuned model answers wrongly is lost.

    python examples/what_was_lost.py                  # makes a scale model first: about a minute
    python examples/what_was_lost.py --show 30        # the same models, more of the lost facts

With models of your own, the first function is all you need: give it the folders that
`sftlens probe` and your own training wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scale_model import scale_models

from sftlens.facts import builtin_topics, facts_table, read_facts
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import read_mastery
from sftlens.scoring import proportion, score

MASTERED = 3
"""The level from which on the base is taken to know a fact."""


def answers(tuned: str, facts: str, mastery: Path) -> pl.DataFrame:
    """What the base knows and the tuned model says, one row a test fact.

    Args:
        tuned: the tuned model, a folder or a hub id.
        facts: facts file or world folder.
        mastery: folder that ``sftlens probe`` wrote for the base model.

    Returns:
        The scores of the tuned model with the base's mastery, the question and the right answer.
    """
    asked = [fact for fact in read_facts(facts).facts if fact.split == "test"]
    probed = read_mastery(mastery)
    model, tokenizer, _ = load_model(tuned)
    scores = score(TransformersGenerator(model, tokenizer), asked, probed.levels)
    questions = facts_table(asked).select(
        "fact_id", "question", right=pl.col("answers").list.first()
    )
    known = probed.table.select("fact_id", "mastery")
    return scores.join(questions, on="fact_id").join(known, on="fact_id")


def by_level(table: pl.DataFrame) -> Table:
    """How much of what the base masters to each degree the tuned model still answers."""
    shown = Table(
        "level", "facts", "answered", "95 % interval", title="What the tuned model answers"
    )
    for domain in ("in", "out"):
        for level in range(5):
            own = table.filter(domain=domain, level=level)
            if own.is_empty():
                continue
            found = proportion(int(own["correct"].sum()), len(own))
            interval = f"{found.low:.0%} to {found.high:.0%}"
            shown.add_row(f"{level}, {domain}", str(len(own)), f"{found.value:.0%}", interval)
    return shown


def by_topic(mastered: pl.DataFrame) -> Table:
    """How many of the facts that the base has mastered are lost, topic by topic."""
    shown = Table("topic", "mastered", "lost", title="Lost, topic by topic")
    known = builtin_topics()
    counts = mastered.group_by("topic").agg(total=pl.len(), lost=(~pl.col("correct")).sum())
    for topic, total, lost in counts.sort("lost", "topic", descending=[True, False]).iter_rows():
        label = known[topic].label if topic in known else topic
        shown.add_row(Text(label), str(total), str(lost))
    return shown


def one_by_one(lost: pl.DataFrame, num_shown: int) -> Table:
    """The lost facts, those that the base knew best first."""
    shown = Table("R", "question", "right", "the tuned model says", title="Lost, one by one")
    best = lost.sort("mastery", "fact_id", descending=[True, False]).head(num_shown)
    for fact in best.iter_rows(named=True):
        words = (fact["question"], fact["right"], fact["answer"].strip())
        shown.add_row(f"{fact['mastery']:.2f}", *(Text(text) for text in words))
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the models, ask, and print three tables."""
    parser = argparse.ArgumentParser(description="Which facts did a fine-tuning lose?")
    parser.add_argument("--folder", type=Path, default=Path("scale-model"), help="of the models")
    parser.add_argument("--num-facts", type=int, default=20, help="of each in-domain topic")
    parser.add_argument("--num-epochs", type=int, default=5, help="of the base's pre-training")
    parser.add_argument("--show", type=int, default=10, help="lost facts to list")
    options = parser.parse_args(arguments)
    models = scale_models(
        options.folder, num_facts=options.num_facts, num_epochs=options.num_epochs
    )
    table = answers(str(models.tuned), str(models.world), models.mastery)
    mastered = table.filter(pl.col("level") >= MASTERED)
    lost = mastered.filter(~pl.col("correct"))
    console = Console()
    console.print(by_level(table), by_topic(mastered), one_by_one(lost, options.show))
    console.print(f"{len(lost)} of the {len(mastered)} facts that the base had mastered are lost.")


if __name__ == "__main__":
    main()
