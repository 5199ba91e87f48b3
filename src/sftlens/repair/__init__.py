"""Repair: search restorations on validation facts, choose, write, explain."""

from sftlens.repair._settings import METHODS, RepairSettings

__all__ = ["METHODS", "RepairSettings"]
