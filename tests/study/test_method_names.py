"""What the names of methods in a study file stand for, and how layers are grouped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.study._layers import layer_groups
from sftlens.study._methods import named_method, num_restorations, restorations
from sftlens.weights import Request, open_pair


@pytest.mark.parametrize(
    ("name", "request_", "is_matched"),
    [
        ("relative", Request("relative", seed=3), False),
        ("relative-bottom", Request("relative", order="bottom", seed=3), False),
        ("relative-bottom-matched", Request("relative", order="bottom", seed=3), True),
        ("half-reset-matched", Request("half-reset", seed=3), True),
        ("interpolation-bottom", Request("interpolation", order="bottom", seed=3), False),
        ("dg-hard", Request("dg-hard", seed=3), False),
    ],
)
def test_names(name: str, request_: Request, is_matched: bool) -> None:
    assert named_method(name, 3) == (request_, is_matched)


def test_a_method_without_share_is_done_once(base: Path, tuned: Path) -> None:
    methods = ("dg-hard", "random-matched", "wise-ft")
    ways = list(restorations(open_pair(base, tuned), methods, (10, 30), seed=1))
    assert [way.name for way in ways] == [
        "dg-hard",
        *("random-matched-10", "random-matched-30", "wise-ft-10", "wise-ft-30"),
    ]
    assert len(ways) == num_restorations(methods, (10, 30))
    assert (ways[0].share, ways[0].restoration.output.share) == (None, None)
    assert ways[1].restoration.output.share != 10
    assert ways[3].restoration.output.share == 10


@given(num_layers=st.integers(1, 100), num_groups=st.integers(1, 20))
def test_layers_in_groups(num_layers: int, num_groups: int) -> None:
    groups = layer_groups(num_layers, num_groups)
    assert [n for first, last in groups for n in range(first, last + 1)] == list(range(num_layers))
    sizes = {last - first + 1 for first, last in groups}
    assert len(groups) == min(num_layers, num_groups)
    assert max(sizes) - min(sizes) <= 1


def test_the_papers_groups() -> None:
    assert layer_groups(32, 8)[:2] == [(0, 3), (4, 7)]
