"""The record of how a run folder came about."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens import __version__
from sftlens.errors import UserError
from sftlens.manifest import (
    MANIFEST,
    content_key,
    earlier_run,
    file_hash,
    read_manifest,
    record_files,
    record_rewritten,
    write_manifest,
)

CONFIG = {"seed": 3, "base": {"name": "b", "weights": "00"}}


def test_a_manifest_tells_what_a_run_depends_on(tmp_path: Path) -> None:
    write_manifest(tmp_path, stage="probe", config=CONFIG, result={"num_facts": 1})
    content = read_manifest(tmp_path, "probe")
    assert content["config"] == CONFIG
    assert content["result"] == {"num_facts": 1}
    assert content["format_version"] == 1
    assert content["versions"]["sftlens"] == __version__
    assert {"python", "torch", "transformers", "trl", "polars"} <= set(content["versions"])
    assert content["command_line"]
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_an_earlier_run_is_known_by_its_config(tmp_path: Path) -> None:
    assert earlier_run(tmp_path, stage="probe", config=CONFIG) is None
    write_manifest(tmp_path, stage="probe", config=CONFIG, result={"num_facts": 1})
    turned = dict(reversed(CONFIG.items()))
    found = earlier_run(tmp_path, stage="probe", config=turned)
    assert found == ({"num_facts": 1}, None, {})  # no files recorded: taken as it is
    assert earlier_run(tmp_path, stage="probe", config={**CONFIG, "seed": 4}) is None
    assert earlier_run(tmp_path, stage="score", config=CONFIG) is None


def test_the_files_of_a_whole_folder_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "jobs").mkdir()
    for name in ("page", "table", "paper/one", "paper/two", "jobs/work"):
        (tmp_path / name).write_text("first")
    write_manifest(tmp_path, stage="study", config=CONFIG, result={})
    record_files(tmp_path, "study", leave_out=("jobs",))
    found = earlier_run(tmp_path, stage="study", config=CONFIG)
    assert found is not None
    assert list(found.files) == ["page", "paper/one", "paper/two", "table"]
    assert found.fault is None

    (tmp_path / "table").write_text("first, and something else")
    (tmp_path / "page").write_text("second")
    (tmp_path / "paper/one").unlink()
    (tmp_path / "paper/three").write_text("second")
    record_rewritten(tmp_path, "study", ["page", "paper"])
    found = earlier_run(tmp_path, stage="study", config=CONFIG)
    assert found is not None
    assert list(found.files) == ["page", "paper/three", "paper/two", "table"]
    assert found.fault == "table was changed (25 instead of 5 bytes)"  # it was not written anew


def test_a_folder_that_was_never_whole_stays_so(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("first")
    write_manifest(tmp_path, stage="study", config=CONFIG, result={})
    record_rewritten(tmp_path, "study", ["page"])
    assert "files" not in read_manifest(tmp_path, "study")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"stage": "score"}', "\ufeff"])
def test_a_broken_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(UserError, match="give the folder that `sftlens probe` wrote"):
        read_manifest(tmp_path, "probe")


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, stage="probe", config=CONFIG, result={})
    content = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "format_version": 2}))
    with pytest.raises(UserError, match="has format 2, this sftlens reads 1"):
        read_manifest(tmp_path, "probe")


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        read_manifest(tmp_path, "probe")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values), st.randoms(use_true_random=False))
def test_the_key_does_not_depend_on_the_order(config: dict, random: object) -> None:
    items = list(config.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert content_key(dict(items)) == content_key(config)
    assert content_key({**config, "one more": 1}) != content_key(config)


def test_file_hash(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000  # more than one block
    (tmp_path / "file").write_bytes(data)
    assert file_hash(tmp_path / "file") == hashlib.sha256(data).hexdigest()
