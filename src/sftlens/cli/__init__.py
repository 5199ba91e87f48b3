"""The command line."""

from sftlens.cli import (
    divergence,
    facts,
    pretrain,
    probe,
    score,
    tune,
    world,
)
from sftlens.cli._app import app, main

__all__ = ["app", "divergence", "facts", "main", "pretrain", "probe", "score", "tune", "world"]
