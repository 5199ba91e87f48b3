"""One invented world and one scale model, made once a test run, for all rooms."""

from __future__ import annotations

import os

# Set before torch is loaded: results are compared bit for bit, and nothing is fetched.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from browsing import CHROMIUM, FLAGS
from sftlens.facts import Fact, read_facts
from tiny_world import PROBE, small_preset, tiny_world

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from sftlens.generation import LoadedModel, TransformersGenerator
    from sftlens.mastery import Mastery


# The same examples in every run, however slow the machine.
settings.register_profile(
    "seeded", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("seeded")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or leaves anything in the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _no_figures() -> Iterator[None]:
    """Figures for papers take seconds a study: tests of them ask for them."""
    from sftlens.report.paper import _write

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_write, "can_draw", lambda: False)
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the run's shared folders lie in."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def world(models: Path) -> Path:
    """A world folder with ten or three facts of each of the 24 topics."""
    return tiny_world(models / "world")


@pytest.fixture(scope="session")
def facts(world: Path) -> list[Fact]:
    return read_facts(world).facts


@pytest.fixture(scope="session")
def asked(models: Path, world: Path) -> Path:
    """A file of the world's facts, all of them of the test split."""
    table = pl.read_parquet(world / "facts.parquet").with_columns(split=pl.lit("test"))
    table.write_parquet(models / "asked.parquet")
    return models / "asked.parquet"


@pytest.fixture(scope="session")
def base(models: Path, world: Path) -> Path:
    """A scale model of 0.2 M parameters that knows the world in part: every level has facts."""
    from sftlens.generation import question_prompt
    from sftlens.world import PretrainSettings, pretrain

    recipe = PretrainSettings(num_epochs=20, learning_rate=5e-3)
    with small_preset():
        pretrain(world, models / "base", recipe, markers=[question_prompt("")])
    return models / "base"


@pytest.fixture(scope="session")
def mastery_folder(models: Path, base: Path, world: Path) -> Path:
    from sftlens.mastery import run_probe

    run_probe(str(base), str(world), models / "mastery", PROBE)
    return models / "mastery"


@pytest.fixture(scope="session")
def mastery(mastery_folder: Path) -> Mastery:
    from sftlens.mastery import read_mastery

    return read_mastery(mastery_folder)


@pytest.fixture(scope="session")
def tuned(models: Path, base: Path, world: Path, mastery_folder: Path) -> Path:
    """The base fine-tuned on its level 0."""
    from sftlens.tuning import TuneSettings, run_tune

    run_tune(
        str(base),
        str(world),
        mastery_folder,
        models / "tuned",
        level=0,
        size=16,
        settings=TuneSettings(learning_rate=1e-3),
    )
    return models / "tuned"


@pytest.fixture(scope="session")
def loaded_base(base: Path) -> LoadedModel:
    """The base in memory, for tests that leave it as it is."""
    from sftlens.generation import load_model

    return load_model(base)


@pytest.fixture(scope="session")
def generator(loaded_base: LoadedModel) -> TransformersGenerator:
    from sftlens.generation import TransformersGenerator

    return TransformersGenerator(loaded_base.model, loaded_base.tokenizer)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the smallest demo."""
    from tiny_study import demo

    out = tmp_path_factory.mktemp("demo") / "run"
    demo(out)
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()
