from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from tiny_models import moved, save_model, save_tokenizer, write_copy

from sftlens.weights import CheckpointPair, open_pair

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in float32 with its tokenizer."""
    folder = save_model(tmp_path_factory.mktemp("models") / "base", "llama")
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tuned(base: Path) -> Path:
    """The same, 70 % of the entries moved."""
    return write_copy(base, base.with_name("tuned"), moved(share=0.7))


@pytest.fixture(scope="session")
def base16(base: Path) -> Path:
    """The base in bfloat16."""

    def cast(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.bfloat16() for name, tensor in tensors.items()}

    return write_copy(base, base.with_name("base16"), cast)


@pytest.fixture(scope="session")
def tuned16(base16: Path) -> Path:
    """Small moves in bfloat16: many entries do not change, and many changes are equal."""
    return write_copy(base16, base16.with_name("tuned16"), moved(1e-4, share=0.8), num_shards=3)


@pytest.fixture(scope="session")
def pair(base: Path, tuned: Path) -> CheckpointPair:
    return open_pair(base, tuned)


@pytest.fixture(scope="session")
def pair16(base16: Path, tuned16: Path) -> CheckpointPair:
    return open_pair(base16, tuned16)
