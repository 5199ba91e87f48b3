"""Token level: the KL divergence of a tuned model from its base."""

from sftlens.divergence._divergence import (
    DIVERGENCE_SCHEMA,
    BaseOutlook,
    LogitsGenerator,
    base_outlook,
    best_templates,
    divergence,
    full_kl,
    top_token_kl,
)

__all__ = [
    "DIVERGENCE_SCHEMA",
    "BaseOutlook",
    "LogitsGenerator",
    "base_outlook",
    "best_templates",
    "divergence",
    "full_kl",
    "top_token_kl",
]
