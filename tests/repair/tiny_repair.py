"""The smallest repair that has every stage."""

from __future__ import annotations

from sftlens.repair import RepairSettings

SETTINGS = RepairSettings(budget=6, methods=("relative", "wise-ft"), shares=(20, 60))
