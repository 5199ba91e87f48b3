"""What the reference paper measured (arXiv 2509.16596), on other models.

In-domain accuracy of LLaMA-3-8B, mean over the mastery levels of the test facts, by the level of
the training facts. They stand in for measurements of the model at hand, and each advice that rests
on them says so.
"""

from __future__ import annotations

MODEL = "LLaMA-3-8B"

AT_240 = (0.5533, 0.5796, 0.5932, 0.5912, 0.5397)
"""By training level 0 to 4, 240 training facts (the unrestored row of the restoration table)."""

AT_1920 = (0.4547, 0.5269, 0.5753, 0.5515, 0.5393)
"""The same with 1,920 training facts (Table 2)."""

FALL = 0.0886
"""What 1,920 facts of level 0 cost against 240 of them (section 4)."""

SPREAD = 0.1206
"""Between the best and the worst training level at 1,920 facts (section 4)."""
