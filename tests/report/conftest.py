"""Run folders and pages for the tests of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from pages import Page
from studies import Study, make_study

from sftlens.report import _answers, write_report


@pytest.fixture(scope="session", autouse=True)
def few_resamples() -> Iterator[None]:
    """A quarter of the bootstrap: the tests ask for signs, not for the third digit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_answers, "NUM_RESAMPLES", 250)
        yield


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Study], Path]:
    """Makes a run folder of an invented study, a new one for each call."""
    return lambda study: make_study(tmp_path_factory.mktemp("study") / "run", study)


@pytest.fixture(scope="session")
def study_page(
    study_folder: Callable[[Study], Path], few_resamples: None
) -> Callable[[Study], Page]:
    """The page of an invented study, one for equal studies."""
    return cache(lambda study: Page(write_report(study_folder(study))))
