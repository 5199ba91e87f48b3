"""Facts: questions with accepted answers, their topics, and when a text counts as an answer."""

from sftlens.facts._aliases import AliasGroups, load_aliases, paper_aliases, with_aliases
from sftlens.facts._fact import (
    DOMAINS,
    FACTS_SCHEMA,
    SPLITS,
    Domain,
    Fact,
    Split,
    echoed_ids,
    facts_from_file,
    facts_from_table,
    facts_hash,
    facts_table,
    is_echoed,
)
from sftlens.facts._matching import Matching, fold, matches
from sftlens.facts._readers import (
    SOURCES,
    WORLD_FACTS,
    ReadFacts,
    read_facts,
    source_aliases,
)
from sftlens.facts._select import Echoed, select_facts
from sftlens.facts._topics import Topic, builtin_topics, fill, load_topics, topics_with

__all__ = [
    "DOMAINS",
    "FACTS_SCHEMA",
    "SOURCES",
    "SPLITS",
    "WORLD_FACTS",
    "AliasGroups",
    "Domain",
    "Echoed",
    "Fact",
    "Matching",
    "ReadFacts",
    "Split",
    "Topic",
    "builtin_topics",
    "echoed_ids",
    "facts_from_file",
    "facts_from_table",
    "facts_hash",
    "facts_table",
    "fill",
    "fold",
    "is_echoed",
    "load_aliases",
    "load_topics",
    "matches",
    "paper_aliases",
    "read_facts",
    "select_facts",
    "source_aliases",
    "topics_with",
    "with_aliases",
]
