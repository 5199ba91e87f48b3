"""Tasks of lm-evaluation-harness on our models: the same answers, judged the same."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tokenizers import processors
from transformers import GenerationConfig

from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import LoadedModel, TransformersGenerator, load_model, question_prompt
from sftlens.scoring import (
    ITEMS_SCHEMA,
    RESULTS_SCHEMA,
    HarnessSettings,
    HarnessTasks,
    evaluate_harness_tasks,
    export_harness_tasks,
    load_harness_tasks,
    score,
)
from sftlens.scoring._harness._model import harness_model
from sftlens.weights import Request, Sweep, open_pair, plan

CHOICES = """\
task: own_choice
dataset_path: json
dataset_kwargs: {data_files: {test: PATH/own.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: gold
"""

TEXTS = """\
task: own_text
dataset_path: json
dataset_kwargs: {data_files: {test: PATH/own.jsonl}}
test_split: test
fewshot_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["."], max_gen_toks: 5}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""

GROUP = """\
group: own
task: [own_choice, own_text]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""


@pytest.fixture(scope="module")
def tasks(models: Path, asked: Path, facts: list[Fact]) -> HarnessTasks:
    """The world's facts as tasks: both domains, the splits train and test."""
    export_harness_tasks(facts, models / "harness")
    return load_harness_tasks(["sftlens"], models / "harness")


@pytest.fixture(scope="module")
def loaded_tuned(tuned: Path) -> LoadedModel:
    return load_model(tuned)


@pytest.fixture(scope="module")
def own_tasks(tmp_path_factory: pytest.TempPathFactory, facts: list[Fact]) -> HarnessTasks:
    folder = tmp_path_factory.mktemp("own")
    rows = [
        {
            "question": question_prompt(fact.question),
            "choices": [fact.answers[0], other.answers[0], "nothing at all"],
            "gold": 0,
        }
        for fact, other in zip(facts[:12], facts[60:72], strict=True)
    ]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, text in (("choice", CHOICES), ("text", TEXTS), ("group", GROUP)):
        (folder / f"{name}.yaml").write_text(text.replace("PATH", str(folder)))
    return load_harness_tasks(["own"], folder)


def assert_agreement(model: LoadedModel, tasks: HarnessTasks, facts: list[Fact]) -> pl.DataFrame:
    """That the harness finds the answers that we find, and judges each as we do."""
    ours = score(TransformersGenerator(model.model, model.tokenizer), facts, {})
    found = evaluate_harness_tasks(model, tasks, HarnessSettings(batch_size=64), items=True)
    assert found.items is not None
    theirs = found.items.select(
        pl.col("doc").str.json_path_match("$.fact_id").alias("fact_id"),
        "task",
        pl.col("answer").alias("their_answer"),
        pl.col("value").cast(pl.Boolean).alias("their_correct"),
    )
    both = ours.join(theirs, on="fact_id", how="inner", validate="1:1")
    assert len(both) == len(facts)
    assert both["their_answer"].to_list() == both["answer"].to_list()
    assert both["their_correct"].to_list() == both["correct"].to_list()
    means = both.group_by("task").agg(pl.col("correct").mean(), pl.len()).sort("task")
    told = found.results.sort("task")
    assert told["task"].to_list() == means["task"].to_list()
    assert told["value"].to_list() == pytest.approx(means["correct"].to_list())
    assert told["num_items"].to_list() == means["len"].to_list()
    return both


def test_the_harness_agrees_with_us(
    tasks: HarnessTasks, loaded_base: LoadedModel, loaded_tuned: LoadedModel, facts: list[Fact]
) -> None:
    assert len(tasks.names) >= 3
    assert tasks.groups == ("sftlens",)
    base = assert_agreement(loaded_base, tasks, facts)
    tuned = assert_agreement(loaded_tuned, tasks, facts)
    for domain in ("in", "out"):
        # The agreement is one of right and of wrong answers.
        correct = pl.concat([base, tuned]).filter(domain=domain)["correct"]
        assert 0 < correct.sum() < len(correct)


def test_no_bar_is_drawn(
    tasks: HarnessTasks,
    own_tasks: HarnessTasks,
    loaded_base: LoadedModel,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for some in (tasks, own_tasks):
        evaluate_harness_tasks(loaded_base, some, HarnessSettings(limit=2))
    told = capfd.readouterr()
    assert told.out == ""
    assert "%|" not in told.err
    assert "it/s" not in told.err


def test_chosen_items_alone(own_tasks: HarnessTasks, loaded_tuned: LoadedModel) -> None:
    assert own_tasks.num_items("own_choice") == 12
    every = evaluate_harness_tasks(loaded_tuned, own_tasks, items=True).items
    places = {"own_choice": [7, 2, 11], "own_text": [3]}
    found = evaluate_harness_tasks(loaded_tuned, own_tasks, items=True, places=places).items
    assert every is not None
    assert found is not None
    wanted = [pl.col("task").eq(task) & pl.col("item").is_in(own) for task, own in places.items()]
    same = every.filter(pl.any_horizontal(wanted))
    # Log-likelihoods are of batches of another make-up, whose sums round otherwise.
    assert found.drop("answer").equals(same.drop("answer"))
    texts = pl.col("task") == "own_text"
    assert found.filter(texts).equals(same.filter(texts))


def test_a_folder_is_the_model_in_it(
    tasks: HarnessTasks, tuned: Path, loaded_tuned: LoadedModel, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = HarnessSettings(limit=4, batch_size=3)
    found = evaluate_harness_tasks(tuned, tasks, settings)
    assert found.items is None
    assert found.results.schema == RESULTS_SCHEMA
    assert found.results["num_items"].to_list() == [4] * len(tasks.names)
    pair = (loaded_tuned.model, loaded_tuned.tokenizer)
    assert evaluate_harness_tasks(pair, tasks, settings).results.equals(found.results)
    assert capfd.readouterr().out == ""


def test_what_model_and_tokenizer_bring_along_does_not_part_us(
    tasks: HarnessTasks, base: Path, facts: list[Fact]
) -> None:
    model, tokenizer, folder = load_model(base)
    expected = score(TransformersGenerator(model, tokenizer), facts, {})["answer"].to_list()
    # A text that is ended by a token of the generation config alone.
    ends = tokenizer.encode(max(expected, key=len), add_special_tokens=False)[1]
    own = GenerationConfig(
        repetition_penalty=3.0, max_new_tokens=2, min_new_tokens=9, eos_token_id=[ends]
    )
    model.generation_config = own
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    tokenizer.padding_side, tokenizer.pad_token = "right", None
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", tokenizer.eos_token_id)]
    )
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id == 0
    assert tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id
    both = assert_agreement(LoadedModel(model, tokenizer, folder), tasks, facts)
    assert set(both["answer"]) != set(expected)
    assert model.generation_config is own
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("right", None)


def test_blanks_around_punctuation_are_kept(base: Path) -> None:
    model, tokenizer, _ = load_model(base)
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    text = "no , it is n't ."
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) != text
    assert harness_model(model, tokenizer, 1).tok_decode(ids) == text


def test_a_head_of_its_own_is_kept(tasks: HarnessTasks, base: Path, facts: list[Fact]) -> None:
    model, tokenizer, folder = load_model(base)
    head = torch.nn.Parameter(model.lm_head.weight.detach().flip(0).clone())
    model.lm_head.weight = head
    model.config.tie_word_embeddings = True
    assert_agreement(LoadedModel(model, tokenizer, folder), tasks, facts)
    assert model.lm_head.weight is head
    assert "tie_weights" not in vars(model)


def test_restorations_are_evaluated_in_place(
    tasks: HarnessTasks, base: Path, tuned: Path, facts: list[Fact]
) -> None:
    loaded = load_model(tuned)
    before = copy.deepcopy(loaded.model.state_dict())
    pair = open_pair(base, tuned)
    answers = []
    with Sweep(loaded.model, pair) as sweep:
        for planned in plan(pair, Request(shares=(5, 60))):
            sweep.step(planned.restoration)
            answers.append(assert_agreement(loaded, tasks, facts)["answer"].to_list())
    assert answers[0] != answers[1]
    assert all(
        torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items()
    )


@torch.inference_mode()
def log_likelihood(loaded: LoadedModel, text: str, continuation: str) -> float:
    prompt = loaded.tokenizer(text)["input_ids"]
    ids = loaded.tokenizer(text + continuation)["input_ids"]
    logits = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(prompt), len(ids))
    return sum(float(logits[place - 1, ids[place]]) for place in places)


def test_own_tasks(own_tasks: HarnessTasks, loaded_base: LoadedModel) -> None:
    found = evaluate_harness_tasks(loaded_base, own_tasks, items=True)
    assert found.items is not None
    assert found.items.schema == ITEMS_SCHEMA
    choices = found.items.filter(task="own_choice", metric="acc")
    correct = []
    for row in choices.iter_rows(named=True):
        doc = json.loads(row["doc"])
        expected = [log_likelihood(loaded_base, doc["question"], f" {c}") for c in doc["choices"]]
        told = [value for value, _ in json.loads(row["answer"])]
        assert told == pytest.approx(expected, abs=1e-3)
        assert row["value"] == (max(expected) == expected[doc["gold"]])
        correct.append(row["value"])
    assert 0 < sum(correct) < len(correct) == 12
    told = {(row[0], row[1]): row[2:] for row in found.results.iter_rows()}
    mean = sum(correct) / 12
    spread = (mean * (1 - mean) / 11) ** 0.5
    assert told["own_choice", "acc"] == ("none", pytest.approx(mean), pytest.approx(spread), 12, 0)
    assert told["own", "acc"][1] == pytest.approx(mean)
    texts = found.items.filter(task="own_text")
    assert texts["metric"].unique().to_list() == ["exact_match"]
    assert told["own_text", "exact_match"][1] == texts["value"].mean()
    assert not texts["answer"].str.contains(".", literal=True).any()


@pytest.mark.parametrize("kind", ["tasks", "own_tasks"])
def test_logits_that_are_no_numbers(
    loaded_base: LoadedModel, kind: str, request: pytest.FixtureRequest
) -> None:
    """Neither generated texts nor likelihoods come of them."""
    model = copy.deepcopy(loaded_base.model)

    def spoil(module: Any, args: Any, output: Any) -> None:
        output.logits[-1, -1] = float("nan")

    model.register_forward_hook(spoil)
    with pytest.raises(UserError, match=r"the logits hold NaN after the prompt '.+'"):
        evaluate_harness_tasks((model, loaded_base.tokenizer), request.getfixturevalue(kind))


def test_examples_are_seeded(own_tasks: HarnessTasks, loaded_base: LoadedModel) -> None:
    state = random.getstate()

    def answers(seed: int, num_fewshot: int | None = 2) -> list[str]:
        settings = HarnessSettings(num_fewshot=num_fewshot, seed=seed)
        found = evaluate_harness_tasks(loaded_base, own_tasks, settings, items=True)
        assert found.items is not None
        shots = found.results.filter(task="own_text")["num_fewshot"].item()
        assert shots == (num_fewshot or 0)
        return found.items["answer"].to_list()

    first = answers(0)
    assert answers(1) != first
    assert answers(0, None) != first
    assert answers(0) == first
    assert random.getstate() == state


def test_a_task_without_examples_stays_so(tasks: HarnessTasks, loaded_base: LoadedModel) -> None:
    settings = HarnessSettings(num_fewshot=3, limit=1)
    found = evaluate_harness_tasks(loaded_base, tasks, settings)
    assert set(found.results["num_fewshot"]) == {0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("task: mine\ndataset_path: PATH/absent\n", "cannot be loaded"),
        ("task: mine\noutput_type: dance\n", "Got invalid output_type 'dance'"),
        (CHOICES.replace("own_choice", "mine") + "unsafe_code: true\n", "code that a model wrote"),
        (CHOICES.replace("own_choice", "mine") + "doc_to_image: question\n", "more than text"),
        ("task: [mine\n", "broken is passed over"),
    ],
)
def test_refused_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    import lm_eval.tasks

    plain = lm_eval.tasks.TaskManager
    # Looking through the harness's fourteen thousand tasks takes ten seconds.
    monkeypatch.setattr(
        lm_eval.tasks, "TaskManager", lambda include_path, **_: plain(None, include_path, False)
    )
    row = {"question": "a", "choices": ["b"], "gold": 0}
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    (tmp_path / "mine.yaml").write_text(text.replace("PATH", str(tmp_path)))
    with pytest.raises(UserError, match=told) as refused:
        load_harness_tasks(["mine"], tmp_path)
    assert "\n" not in str(refused.value)


def test_refused_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no task is named"):
        load_harness_tasks([])
    with pytest.raises(UserError, match="is no folder"):
        load_harness_tasks(["mine"], tmp_path / "absent")
    monkeypatch.setattr("sftlens.scoring._harness._tasks.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install sftlens\[eval\]"):
        load_harness_tasks(["mine"], tmp_path)
