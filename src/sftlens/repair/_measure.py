"""Knowledge kept as one number, and how sure a difference of it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.facts import DOMAINS, Domain, Fact
from sftlens.scoring import Estimate, mean_of_proportions, proportion

Values = NDArray[np.float64]

_MIN_FACTS = 3  # of a level; with fewer it enters no mean, since its spread cannot be told
_NUM_RESAMPLES = 4000
_BATCH = 1 << 24  # entries of the draws that are in memory at once


class Strata(NamedTuple):
    """What a mean over facts is made of, and how much each fact weighs in it.

    Knowledge is the plain mean of the domains, a domain that of its mastery levels (paper section
    4), a level that of its facts. Without levels, a domain is the plain mean of its facts. A level
    with fewer than three facts of a domain is left out of it; where no level has three, the domain
    is the mean of all its facts.
    """

    codes: NDArray[np.int64]  # (num_facts,) a number for each domain and level; -1 is left out
    domains: tuple[Domain, ...]  # of each number

    @property
    def weights(self) -> Values:
        """What each fact weighs, (num_facts,); 1 in all."""
        found = np.zeros(len(self.codes))
        for code, domain in enumerate(self.domains):
            members = self.codes == code
            share = len(set(self.domains)) * self.domains.count(domain) * members.sum()
            found[members] = 1 / share
        return found

    def first(self, num_facts: int) -> Strata:
        """The same for the first facts alone: of the parts that have some among them."""
        codes = self.codes[:num_facts]
        present = [int(code) for code in np.unique(codes) if code >= 0]
        return self._only(codes, present) if present else alike(num_facts)

    def of(self, domain: Domain) -> Strata:
        """The same for one domain alone."""
        kept = [code for code, own in enumerate(self.domains) if own == domain]
        return self._only(self.codes, kept)

    def _only(self, codes: NDArray[np.int64], kept: Sequence[int]) -> Strata:
        found = np.full_like(codes, -1)
        for new, code in enumerate(kept):
            found[codes == code] = new
        return Strata(found, tuple(self.domains[code] for code in kept))


def strata(facts: Sequence[Fact], levels: Mapping[str, int] | None) -> Strata:
    """How facts enter the mean.

    Args:
        facts: at least one.
        levels: mastery level by fact_id; None where it was not measured.
    """
    codes = np.full(len(facts), -1, dtype=np.int64)
    domains: list[Domain] = []
    for domain in DOMAINS:
        places = np.array([n for n, fact in enumerate(facts) if fact.domain == domain], dtype=int)
        own = np.array([levels[facts[n].fact_id] if levels else 0 for n in places], dtype=int)
        counts = np.bincount(own) if len(own) else np.array([], dtype=int)
        large = np.flatnonzero(counts >= _MIN_FACTS)
        groups = [places[own == level] for level in large] or ([places] if len(places) else [])
        for members in groups:
            codes[members] = len(domains)
            domains.append(domain)
    return Strata(codes, tuple(domains))


def knowledge(correct: Values, of: Strata) -> Estimate:
    """The mean with its 95 % interval, which combines those of the parts.

    Args:
        correct: 1 where the answer was right, else 0; (num_facts,).
        of: :func:`strata` of the same facts.
    """
    by_domain: dict[Domain, list[Estimate]] = {}
    for code, domain in enumerate(of.domains):
        members = correct[of.codes == code]
        by_domain.setdefault(domain, []).append(proportion(int(members.sum()), len(members)))
    return mean_of_proportions([mean_of_proportions(parts) for parts in by_domain.values()])


def resampled(values: Values, of: Strata, *, seed: int) -> Values:
    """Means over facts drawn anew within their strata.

    Args:
        values: (num_rows, num_facts); the rows share their draws.
        of: :func:`strata` of the facts.
        seed: of the draws.

    Returns:
        (num_resamples, num_rows)
    """
    rng = np.random.default_rng(seed)
    weights = of.weights
    found = np.zeros((_NUM_RESAMPLES, len(values)))
    for code in range(len(of.domains)):
        members = np.flatnonzero(of.codes == code)
        own = (values[:, members] * weights[members]).T
        step = max(1, _BATCH // len(members))
        for start in range(0, _NUM_RESAMPLES, step):
            size = min(step, _NUM_RESAMPLES - start)
            shares = np.full(len(members), 1 / len(members))
            found[start : start + size] += rng.multinomial(len(members), shares, size=size) @ own
    return found


def gain(values: Values, reference: Values, of: Strata, *, seed: int) -> Estimate:
    """How much one mean exceeds another over the same facts, with a paired 95 % interval."""
    return gains(values[None], reference, of, seed=seed)[0]


def gains(values: Values, reference: Values, of: Strata, *, seed: int) -> list[Estimate]:
    """The same for several rows of values at once, (num_rows, num_facts)."""
    differences = values - reference
    means = resampled(differences, of, seed=seed)
    lows, highs = np.quantile(means, [0.025, 0.975], axis=0)
    rows = zip(differences @ of.weights, lows, highs, strict=True)
    return [Estimate(*map(float, row)) for row in rows]


def task_accuracy(values: Values, *, seed: int) -> Estimate:
    """The mean over a task's items with its 95 % interval: Wilson's where each is right or wrong,
    else a bootstrap."""
    if np.isin(values, (0, 1)).all():
        return proportion(int(values.sum()), len(values))
    return gain(values, np.zeros_like(values), alike(len(values)), seed=seed).within(0.0, 1.0)


def alike(num_items: int) -> Strata:
    """Items that all weigh the same."""
    return Strata(np.zeros(num_items, dtype=np.int64), ("in",))
