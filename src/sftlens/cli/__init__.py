"""The command line."""

from sftlens.cli import (  # noqa: F401  each module adds its command
    demo,
    diff,
    divergence,
    facts,
    pretrain,
    probe,
    report,
    restore,
    score,
    tune,
    world,
)
from sftlens.cli._app import app, main

__all__ = ["app", "main"]
