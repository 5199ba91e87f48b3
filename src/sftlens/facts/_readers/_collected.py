"""Facts as they are collected from rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Sequence

from sftlens.facts._fact import Fact

NO_ANSWER = "no answer"
WITHHELD = "answer withheld"
TRUTH_VALUE = "answer true or false"
NOT_TEXT = "answer not text"
SEVERAL_ANSWERS = "several answers"
REPEATED = "repeated question"
OTHER_FORM = "question does not fit its topic's form"
UNKNOWN_TOPIC = "topic is unknown"


class Collected:
    """Facts in the order they came, and dropped rows counted by reason."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.dropped: Counter[str] = Counter()
        self._seen: set[Hashable] = set()

    def drop(self, reason: str) -> None:
        """Count a row that becomes no fact."""
        self.dropped[reason] += 1

    def has_answer(self, texts: Sequence[str], refused: Sequence[str]) -> bool:
        """Tell if a row has an answer, and count why not, or what was left out beside others."""
        if not texts:
            self.drop(refused[0] if refused else NO_ANSWER)
        else:
            for reason in refused:
                self.drop(f"{reason}, beside others that stay")
        return bool(texts)

    def add(self, fact: Fact, asks: Hashable) -> None:
        """Take a fact, unless one that asks the same was taken."""
        if asks in self._seen:
            self.drop(REPEATED)
        else:
            self._seen.add(asks)
            self.facts.append(fact)


def fact_id(topic: str, *identity: str) -> str:
    """The id of a fact that brings none: its topic, and a hash of what tells it from others."""
    # The JSON list of the parts; made part by part, which is three times as fast.
    text = f"[{', '.join(map(json.dumps, (topic, *identity)))}]"
    return f"{topic}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
