"""Token level: the KL divergence of a tuned model from its base."""

from sftlens.divergence._divergence import (
    DIVERGENCE_SCHEMA,
    BaseOutlook,
    LogitsGenerator,
    base_outlook,
    divergence,
    full_kl,
    top_token_kl,
)
from sftlens.divergence._run import DivergenceResult, run_divergence

__all__ = [
    "DIVERGENCE_SCHEMA",
    "BaseOutlook",
    "DivergenceResult",
    "LogitsGenerator",
    "base_outlook",
    "divergence",
    "full_kl",
    "run_divergence",
    "top_token_kl",
]
