"""Plain fine-tuning: nothing is changed."""

from __future__ import annotations

from typing import Literal

from sftlens.tuning._methods._method import Changes, MethodSettings, Training


class Plain(MethodSettings):
    """Plain supervised fine-tuning (paper section 3)."""

    name: Literal["sft"] = "sft"

    def changes(self, training: Training) -> Changes:
        return Changes()
