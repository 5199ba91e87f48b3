"""Results of jobs: made once, whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlens.errors import UserError
from sftlens.study import Plan, Store


def test_a_result_is_made_once_and_read_by_others(tmp_path: Path) -> None:
    plan = Plan()
    job = plan.jobs[plan.add("facts", {"a": 1}, {})]
    other = Plan()
    changed = other.jobs[other.add("facts", {"a": 2}, {})]
    assert not Store(tmp_path).has(job)
    Store(tmp_path).make(job, lambda folder: {"found": (folder / "x").write_text("1")})
    assert Store(tmp_path).result(job) == {"found": 1}
    assert (Store(tmp_path).path(job) / "x").read_text() == "1"
    assert not Store(tmp_path).has(changed)


@pytest.mark.parametrize(("kind", "resumes"), [("facts", False), ("restore", True)])
def test_a_job_that_fails_leaves_no_result(tmp_path: Path, kind: str, resumes: bool) -> None:
    plan = Plan()
    job = plan.jobs[plan.add(kind, {}, {})]  # type: ignore[arg-type]
    store = Store(tmp_path)

    def fail(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("1")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.make(job, fail)
    assert not store.has(job)
    found = []
    store.make(job, lambda folder: {"n": found.append((folder / "half").exists())})
    assert found == [resumes]
    assert store.has(job)


def test_a_failure_is_told_until_the_job_is_done(tmp_path: Path) -> None:
    plan = Plan()
    job = plan.jobs[plan.add("facts", {}, {})]
    store = Store(tmp_path)
    assert store.failure(job) is None
    store.fail(job, "no room")
    assert Store(tmp_path).failure(job) == "no room"
    store.make(job, lambda _: {})
    assert store.failure(job) is None


def test_a_damaged_record(tmp_path: Path) -> None:
    plan = Plan()
    job = plan.jobs[plan.add("facts", {}, {})]
    store = Store(tmp_path)
    store.make(job, lambda _: {})
    (store.path(job) / "job.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        store.result(job)


@pytest.mark.parametrize("left", [None, "", "conten"])
def test_a_damaged_result_is_made_again(tmp_path: Path, left: str | None) -> None:
    plan = Plan()
    job = plan.jobs[plan.add("facts", {}, {})]
    store = Store(tmp_path)

    def work(folder: Path) -> dict[str, object]:
        (folder / "table").write_text("content")
        return {}

    store.make(job, work)
    table = store.path(job) / "table"
    table.unlink()
    if left is not None:
        table.write_text(left)
    assert not store.has(job)
    store.make(job, work)
    assert store.has(job)
    assert table.read_text() == "content"


def test_a_model_that_may_go_is_lacked_where_it_is_damaged(tmp_path: Path) -> None:
    plan = Plan()
    store = Store(tmp_path)

    def work(folder: Path) -> dict[str, object]:
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text("content")
        return {"model_of": "this"}

    for name, damage in (("cut", lambda path: path.write_text("con")), ("gone", Path.unlink)):
        job = plan.jobs[plan.add("tune", {"name": name}, {})]
        store.make(job, work)
        assert not store.lacks_model(job)
        damage(store.model(job) / "weights")
        assert store.lacks_model(job)
        assert store.has(job)
        store.remove_model(job)
        assert store.lacks_model(job)
        assert store.has(job)


def test_a_job_that_did_nothing_leaves_no_folder(tmp_path: Path) -> None:
    plan = Plan()
    job = plan.jobs[plan.add("probe", {}, {})]

    def refuse(folder: Path) -> dict[str, object]:
        (folder / "empty").mkdir()
        raise UserError("no model")

    with pytest.raises(UserError, match="no model"):
        Store(tmp_path).make(job, refuse)
    assert list(Store(tmp_path).path(job).parent.iterdir()) == []


@pytest.mark.parametrize("kind", ["facts", "restore"])
def test_the_first_of_two_attempts_leaves_the_result(tmp_path: Path, kind: str) -> None:
    plan = Plan()
    job = plan.jobs[plan.add(kind, {}, {})]  # type: ignore[arg-type]
    thought_dead, second = (Store(tmp_path, attempt=name) for name in "ab")
    seen: list[str] = []

    def slow(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("1")
        second.make(job, fast)
        (folder / "half").write_text("changed late")
        return {"by": "a"}

    def fast(folder: Path) -> dict[str, object]:
        seen.extend(path.name for path in folder.iterdir())
        (folder / "half").write_text("2")
        return {"by": "b"}

    thought_dead.make(job, slow)
    assert seen == (["half"] if kind == "restore" else [])
    assert second.result(job) == {"by": "b"}
    assert (second.path(job) / "half").read_text() == "2"
    assert [path.name for path in second.path(job).parent.iterdir()] == [job.key]
    assert second.failure(job) is None


def test_another_attempt_goes_on_from_what_a_lost_one_left(tmp_path: Path) -> None:
    plan = Plan()
    job = plan.jobs[plan.add("restore", {}, {})]

    def lost(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("1")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Store(tmp_path, attempt="a").make(job, lost)
    Store(tmp_path).make(job, lambda folder: {"half": (folder / "half").read_text()})
    assert Store(tmp_path).result(job) == {"half": "1"}
    assert [path.name for path in Store(tmp_path).path(job).parent.iterdir()] == [job.key]
