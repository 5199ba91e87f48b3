"""Facts from files and data sets."""

from sftlens.facts._readers._read import (
    SOURCES,
    WORLD_FACTS,
    ReadFacts,
    read_facts,
    source_aliases,
)

__all__ = ["SOURCES", "WORLD_FACTS", "ReadFacts", "read_facts", "source_aliases"]
