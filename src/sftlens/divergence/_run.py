"""The divergence folder."""

from __future__ import annotations

import gc
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens import notebook
from sftlens.checkpoints import is_adapter, model_identity, resolve_model
from sftlens.divergence._divergence import base_outlook, divergence
from sftlens.errors import UserError
from sftlens.facts import facts_hash, facts_table, read_facts
from sftlens.generation import TransformersGenerator, load_model, load_tuned
from sftlens.mastery import best_templates, read_mastery
from sftlens.output_folder import open_output
from sftlens.progress import progress

DIVERGENCE = "divergence.parquet"
FACTS = "facts.parquet"
_NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class DivergenceResult(notebook.Tabular):
    """What ``sftlens divergence`` tells.

    Attributes:
        kl: mean over facts of KL(tuned ‖ base) over the tuned model's ten highest tokens, in nats.
        low: lower end of its 95 % interval (bootstrap over facts); None for one fact, which tells
            nothing of the spread.
        high: upper end.
        kl_full: mean over facts of the KL over the whole vocabulary, in nats.
        num_facts: facts it was measured on.
        out: the divergence folder.
    """

    kl: float
    low: float | None
    high: float | None
    kl_full: float
    num_facts: int
    out: str

    def to_polars(self) -> pl.DataFrame:
        """One row."""
        return notebook.one_row(self.as_json())

    def _repr_html_(self) -> str:
        return notebook.as_html("KL(tuned ‖ base), nats", self.to_polars())


def run_divergence(
    base: str, tuned: str, source: str, mastery: Path, out: Path
) -> DivergenceResult:
    """Measure the token-level divergence and write its folder, whole or not at all.

    It is measured on the in-domain test facts of level 4 (paper section 5). The base model is let
    go before the tuned one is loaded. A finished folder of the same call is left as it is.

    Args:
        base: folder or hub id of the base model.
        tuned: folder or hub id of the tuned model, or of a LoRA adapter.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        mastery: folder that ``sftlens probe`` wrote for this base model.
        out: the folder that takes the tables ``facts`` and ``divergence`` and the manifest.

    Raises:
        UserError: when an input is unusable, no fact qualifies, or ``out`` holds something.
    """
    facts = [
        fact for fact in read_facts(source).facts if fact.split == "test" and fact.domain == "in"
    ]
    probed = read_mastery(mastery)
    base_folder, tuned_folder = resolve_model(base), resolve_model(tuned, adapter=True)
    base_identity = model_identity(base_folder)
    probed.require_base(base_identity)
    probed.require_known(facts, source)
    config = {
        "base": base_identity,
        "tuned": _tuned_identity(base_folder, tuned_folder),
        "facts": facts_hash(facts),
        "mastery": probed.key,
    }
    with ExitStack() as stack:
        output = stack.enter_context(open_output(out, stage="divergence", config=config))
        if output.finished is not None:
            return DivergenceResult(**{**output.finished, "out": str(out)})
        templates = best_templates(probed.templates())
        advance = stack.enter_context(progress("divergence", 2))
        model, tokenizer, _ = load_model(base_folder)
        outlook = base_outlook(
            TransformersGenerator(model, tokenizer), facts, probed.levels, templates
        )
        del model
        gc.collect()
        advance(1)
        vocabulary = tokenizer.get_vocab()
        model, tokenizer, _ = load_tuned(base_folder, tuned_folder)
        tuned_vocabulary = tokenizer.get_vocab()
        if any(tuned_vocabulary.get(token) != place for token, place in vocabulary.items()):
            raise UserError(
                f"{tuned}: its tokenizer is another than the base's, so their tokens cannot be "
                "compared; give a model tuned from this base"
            )
        table = divergence(TransformersGenerator(model, tokenizer), outlook)
        advance(1)
        facts_table(outlook.facts).write_parquet(output.work / FACTS)
        table.write_parquet(output.work / DIVERGENCE)
        result = _summary(table, out)
        output.complete(result.as_json())
    return result


def _tuned_identity(base: Path, tuned: Path) -> dict[str, str]:
    if not is_adapter(tuned):
        return model_identity(tuned)
    from sftlens.weights import open_pair

    return open_pair(base, tuned).tuned_identity()


def _summary(table: pl.DataFrame, out: Path) -> DivergenceResult:
    kl = table["kl"].to_numpy()
    low, high = _interval(kl)
    kl_full = float(table["kl_full"].to_numpy().mean())
    return DivergenceResult(float(kl.mean()), low, high, kl_full, len(kl), str(out))


def _interval(kl: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    if len(kl) < 2:  # resampled, one fact is always itself: an interval without width
        return None, None
    rng = np.random.default_rng(0)
    resampled = kl[rng.integers(len(kl), size=(_NUM_RESAMPLES, len(kl)))].mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)
