"""Training methods: what each of them holds fixed, and that plain training is what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import load_model, question_prompt
from sftlens.mastery import Mastery
from sftlens.tuning import (
    METHODS,
    Tuned,
    TuneSettings,
    Validation,
    fine_tune,
    method_settings,
    validation_facts,
)
from sftlens.tuning._methods._origin import Whole, keep_origin
from sftlens.tuning._methods._restore import restore_most_changed
from sftlens.tuning._methods._sdft import solved_questions
from sftlens.tuning._methods._targets import divergence, target
from sftlens.tuning._methods._threshold import threshold
from sftlens.weights import region_parameters

Weights = dict[str, torch.Tensor]


def settings(method: str, **values: Any) -> TuneSettings:
    return TuneSettings(learning_rate=3e-3, batch_size=4, method={"name": method, **values})


class Tune:
    """Fine-tunes the base on the first facts, and reads the weights."""

    def __init__(self, base: Path, facts: list[Fact], levels: dict[str, int], folder: Path) -> None:
        self.base, self.folder = base, folder
        self.trained = [fact for fact in facts if fact.split == "train"][:16]
        self.validation = Validation(validation_facts(facts), levels)
        self.before = load_file(base / "model.safetensors")

    def __call__(self, method: str, **values: Any) -> Weights:
        self.tune(settings(method, **values))
        return load_file(self.folder / "model.safetensors")

    def tune(self, given: TuneSettings) -> Tuned:
        loaded = load_model(self.base)
        return fine_tune(loaded, self.trained, self.folder, given, validation=self.validation)

    def distance(self, weights: Weights) -> float:
        return sum(
            float((weights[name] - self.before[name]).square().sum()) for name in self.before
        )


@pytest.fixture
def tune(base: Path, facts: list[Fact], mastery: Mastery, tmp_path: Path) -> Tune:
    return Tune(base, facts, dict(mastery.levels), tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_fixes_the_weights_and_they_differ_from_plain_ones(tune: Tune, method: str) -> None:
    plain = tune("sft")
    one, two = tune(method), tune(method)
    assert all(torch.equal(one[name], two[name]) for name in one)
    if method != "early-stop":  # its best step may be the last
        same = all(torch.equal(one[name], plain[name]) for name in one)
        assert same == (method == "sft")


@pytest.mark.parametrize("method", ["kl", "sdft", "layers", "sparse"])
def test_gradient_checkpointing_changes_no_method(tune: Tune, method: str) -> None:
    plain = tune.tune(settings(method))
    saving = tune.tune(settings(method).model_copy(update={"gradient_checkpointing": True}))
    assert saving.final_loss == pytest.approx(plain.final_loss, rel=1e-4)


def test_plain_settings_are_told_without_a_method() -> None:
    told = TuneSettings().model_dump(mode="json")
    assert "method" not in told
    assert TuneSettings(**told) == TuneSettings(method="sft") == TuneSettings()
    other = TuneSettings(method="kl")
    told = other.model_dump(mode="json")
    assert told["method"] == {"name": "kl", "strength": 3.0}
    assert TuneSettings(**told) == other


def test_what_does_not_fit_is_refused() -> None:
    assert method_settings("kl", strength=0.5, region=None) == {"strength": 0.5}
    assert method_settings("lora", rank=2) == {"rank": 2}
    with pytest.raises(UserError, match=r"'ewc'.*choose from sft, l2-sp"):
        method_settings("ewc")
    with pytest.raises(UserError, match=r"region mlp has no effect on method 'kl'"):
        method_settings("kl", region="mlp")
    with pytest.raises(UserError, match=r"strength 3 has no effect on method 'lora'"):
        method_settings("lora", strength=3)
    with pytest.raises(ValidationError):
        TuneSettings(method={"name": "kl", "strength": -1})
    with pytest.raises(ValidationError):
        TuneSettings(method={"name": "layers", "region": "nowhere"})


def test_l2_sp_stays_nearer_the_stronger_it_pulls(tune: Tune) -> None:
    distances = [tune.distance(tune("l2-sp", strength=s)) for s in (1e-6, 1.0, 100.0)]
    plain = tune.distance(tune("sft"))
    assert distances[0] == pytest.approx(plain, rel=0.05)
    assert distances[2] < distances[1] < distances[0]


def prompt_kl(tune: Tune, weights: Weights) -> float:
    """KL(base ‖ tuned) over the places of the training prompts, the naive way."""
    base, tokenizer, _ = load_model(tune.base)
    tuned = load_model(tune.base).model
    tuned.load_state_dict(weights, strict=False)
    total, count = 0.0, 0
    for fact in tune.trained:
        ids = torch.tensor([tokenizer(question_prompt(fact.question))["input_ids"]])
        with torch.no_grad():
            p, q = (m(input_ids=ids).logits[0, :-1].log_softmax(-1) for m in (base, tuned))
        total += float((p.exp() * (p - q)).sum())
        count += len(p)
    return total / count


def test_kl_keeps_what_the_base_expects_within_the_prompts(tune: Tune) -> None:
    plain, held = prompt_kl(tune, tune("sft")), prompt_kl(tune, tune("kl", strength=30.0))
    assert held < plain / 2


def test_the_divergence_from_the_base_itself_is_zero_and_a_part_of_it_a_lower_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = torch.Generator().manual_seed(0)
    logits, other = torch.randn(2, 5, 300, generator=draw) * 3
    places = torch.tensor([1, 3])
    whole = target(logits[places], places)
    p, q = (x[places].log_softmax(-1) for x in (logits, other))
    assert torch.allclose(divergence(whole, other), (p.exp() * (p - q)).sum(-1), atol=1e-5)
    monkeypatch.setattr("sftlens.tuning._methods._targets.FULL_VOCABULARY", 100)
    part = target(logits[places], places)
    assert part.tokens is not None
    assert part.tokens.shape == (2, 128)
    for own in (whole, part):
        assert torch.allclose(divergence(own, logits), torch.zeros(2), atol=1e-5)
    assert (divergence(part, other) <= divergence(whole, other) + 1e-5).all()
    assert (divergence(part, other) > 0).all()


def test_the_base_is_asked_where_the_answer_stands(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    module = "sftlens.tuning._methods._targets.base_targets"

    def recorded(model: Any, tokenizer: Any, asked: Any) -> Any:
        taken.extend(asked)
        raise UserError("enough")

    monkeypatch.setattr(module, recorded)
    with pytest.raises(UserError, match="enough"):
        tune("sdft")
    _, tokenizer, _ = load_model(tune.base)
    for fact, one in zip(tune.trained, taken, strict=True):
        places = list(one.places)
        answer = [one.ids[place + 1] for place in places]
        assert tokenizer.decode(answer) == f" {fact.answers[0]}"
        assert one.read[one.first + 1 : one.first + 1 + len(places)] == answer
        shown = tokenizer.decode(one.read[: one.first + 1], skip_special_tokens=True)
        assert shown.endswith(f"Q: {fact.question}\nA: {fact.answers[0]}\n\nQ: {fact.question}\nA:")


def test_solved_questions_are_of_the_topic_first(facts: list[Fact]) -> None:
    trained = facts[:40]
    shown = solved_questions(trained, 0)
    first = next(fact for fact in trained[1:] if fact.topic == trained[0].topic)
    assert shown.startswith(f"Q: {first.question}\nA: {first.answers[0]}\n\n")
    assert shown.count("Q: ") == 5
    assert solved_questions(trained[:1], 0).count(trained[0].question) == 2


def test_layers_leave_the_rest_alone(tune: Tune) -> None:
    after = tune("layers", region="mlp:1")
    inside = region_parameters(tune.base, tune.before, "mlp:1")
    assert {".".join(name.split(".")[:4]) for name in inside} == {"model.layers.1.mlp"}
    for name, before in tune.before.items():
        assert torch.equal(before, after[name]) == (name not in inside)


def test_a_region_that_the_model_lacks_is_told(tune: Tune) -> None:
    with pytest.raises(UserError, match="there is no layer 7"):
        tune("layers", region="mlp:7")


@pytest.mark.parametrize("rule", ["gradient", "random"])
def test_sparse_trains_its_share_of_the_blocks(tune: Tune, rule: str) -> None:
    after = tune("sparse", strength=2.0, rule=rule)
    blocks = region_parameters(tune.base, tune.before, "blocks")
    changed = {name: int((tune.before[name] != after[name]).sum()) for name in tune.before}
    assert sum(count for name, count in changed.items() if name not in blocks) == 0
    total = sum(tune.before[name].numel() for name in blocks)
    assert sum(changed.values()) == pytest.approx(0.02 * total, rel=0.1)


def test_sparse_refuses_weight_decay(tune: Tune) -> None:
    given = settings("sparse").model_copy(update={"weight_decay": 0.1})
    with pytest.raises(UserError, match=r"weight_decay 0\.1 would move"):
        tune.tune(given)


@pytest.mark.parametrize("rank", [1, 2, 77, 300])
def test_the_threshold_is_the_ranks_value(rank: int) -> None:
    draw = torch.Generator().manual_seed(rank)
    parts = [torch.rand(100, generator=draw), torch.rand(20, 10, generator=draw) ** 9]
    parts[0][:7] = 0
    everything = torch.cat([part.flatten() for part in parts]).sort(descending=True).values
    assert threshold(lambda: parts, rank) == everything[rank - 1]


def test_restoring_everything_gives_the_base(tune: Tune) -> None:
    after = tune("restore", strength=100.0, every=3)
    blocks = region_parameters(tune.base, tune.before, "blocks")
    for name, before in tune.before.items():
        assert torch.equal(before, after[name]) == (name in blocks)


def test_the_most_changed_are_restored() -> None:
    model = torch.nn.Linear(10, 10, bias=False)
    before = model.weight.detach().clone()
    origin = keep_origin(model, torch.float32)
    with torch.no_grad():
        model.weight.add_(torch.randn(10, 10, generator=torch.Generator().manual_seed(0)))
    moved = model.weight.detach().clone()
    relative = (moved - before).abs() / (before.abs() + 1e-8)
    restore_most_changed(origin, 20)
    back = model.weight == before
    assert int(back.sum()) == 20
    assert relative[back].min() > relative[~back].max()
    assert torch.equal(model.weight[~back], moved[~back])


def test_early_stop_keeps_the_best(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told that the first measurement is the best, it gives the weights of the first step."""
    told = iter([0.5, 0.4, 0.5, 0.3])
    monkeypatch.setattr(
        "sftlens.tuning._watch.Watch.accuracy",
        lambda *_: type("Accuracy", (), {"mean": next(told)})(),
    )
    result = tune.tune(settings("early-stop", every=1, patience=2))
    assert result.num_steps == 3
    assert result.kept_bytes == sum(weights.nbytes for weights in tune.before.values())
    stopped = load_file(tune.folder / "model.safetensors")
    monkeypatch.setattr(
        "sftlens.tuning._watch.Watch.accuracy",
        lambda *_: type("Accuracy", (), {"mean": 0.0})(),
    )
    tune.tune(settings("early-stop", every=1, patience=1))
    first = load_file(tune.folder / "model.safetensors")
    assert all(torch.equal(first[name], stopped[name]) for name in first)
    assert tune.distance(first) > 0


def test_early_stop_needs_validation_facts(tune: Tune) -> None:
    tune.validation = Validation([], {})
    with pytest.raises(UserError, match="needs in-domain facts of the validation split"):
        tune("early-stop")


def test_a_step_that_keeps_nothing_tells_nothing(tune: Tune) -> None:
    assert tune.tune(settings("sft")).kept_bytes == 0
    stored = sum(weights.nbytes for weights in tune.before.values())
    assert tune.tune(settings("l2-sp")).kept_bytes == stored


def test_parameters_that_were_replaced_are_refused() -> None:
    model = torch.nn.Linear(3, 3)
    whole = Whole(model.parameters())
    whole.on_train_begin(None, None, None, model=model)
    model.weight = torch.nn.Parameter(model.weight.detach())
    with pytest.raises(UserError, match="share the model in shards"):
        whole.on_train_begin(None, None, None, model=model)
