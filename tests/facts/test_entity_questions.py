"""EntityQuestions: invented folders of its form, and the real ones where they lie beside us."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sftlens.errors import UserError
from sftlens.facts import (
    ReadFacts,
    Topic,
    builtin_topics,
    facts_table,
    fold,
    load_topics,
    paper_aliases,
    read_facts,
    topics_with,
)

DATA = Path(__file__).parents[3] / "shared" / "data" / "entity_questions"


def row(question: str, *answers: Any) -> dict[str, Any]:
    return {"question": question, "answers": list(answers)}


def write(folder: Path, **files: Any) -> str:
    """A folder of files named like ``P19_train``; gives its source."""
    for name, rows in files.items():
        topic, split = name.split("_")
        path = folder / split / f"{topic}.{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows), encoding="utf-8")
    return f"entity_questions:{folder}"


def test_subject_split_and_domain(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        P50_test=[row("Who is the author of A {b} <i>é</i>?", "B")],
        P19_dev=[row("Where was Ada born?", "London")],
        P50_train=[row("Who is the author of Emma?", "Jane Austen")],
    )
    (tmp_path / "README.json").write_text("no data")
    found = read_facts(source).facts
    assert [(fact.topic, fact.subject, fact.split, fact.domain) for fact in found] == [
        ("P50", "Emma", "train", "out"),
        ("P19", "Ada", "validation", "in"),
        ("P50", "A {b} <i>é</i>", "test", "out"),
    ]
    assert found[1].question == "Where was Ada born?"
    assert found[1].answers == ("London",)


def test_what_is_dropped_and_why(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        P19_train=[
            row("Where was A born?", "X"),
            row("Where was B born?"),
            row("Where was C born?", "X", "Y"),
            row("Where is D born?", "X"),
            row("Where was A born?", "Z"),
            row("Where was a born?", "Z"),
        ],
        P276_train=[row("Where is E located?", "X"), row("Where is F located?", "X")],
        P131_train=[row("Where is E located?", "Y")],
        P131_test=[row("Where is E located?", "Y")],
        P999_test=[row("What is E?", "Y")],
    )
    read = read_facts(source)
    assert [(fact.topic, fact.subject, fact.answers) for fact in read.facts] == [
        ("P19", "A", ("X",)),
        ("P19", "a", ("Z",)),
        ("P131", "E", ("Y",)),
        ("P276", "F", ("X",)),
        ("P131", "E", ("Y",)),
    ]
    assert read.dropped == {
        "no answer": 1,
        "several answers": 1,
        "question does not fit its topic's form": 1,
        "repeated question": 2,
        "topic is unknown": 1,
    }


def test_ids_depend_on_no_other_row(tmp_path: Path) -> None:
    rows = [row(f"Where was {name} born?", "X") for name in "ABC"]
    many = read_facts(write(tmp_path / "many", P19_train=rows, P19_test=rows)).facts
    few = read_facts(write(tmp_path / "few", P19_test=rows[1:2])).facts
    assert len({fact.fact_id for fact in many}) == 6
    assert few[0] == many[4]


def test_a_folder_of_one_split_and_a_single_file(tmp_path: Path) -> None:
    rows = [row("Where was A born?", "X")]
    everything = read_facts(write(tmp_path, P19_train=rows, P20_test=[])).facts
    assert read_facts(f"entity_questions:{tmp_path}/train").facts == everything
    assert read_facts(f"entity_questions:{tmp_path}/train/P19.train.json").facts == everything


def test_aliases(tmp_path: Path) -> None:
    rows = [row("Which country is A located in?", "United States of America")]
    source = write(tmp_path, P17_test=rows)
    of_paper = ("United States of America", "USA", "United States")
    assert read_facts(source).facts[0].answers == of_paper
    assert read_facts(source, aliases=None).facts[0].answers == of_paper[:1]
    widened = read_facts(source, aliases=[["USA", "America"], (*of_paper[:1], "The States")])
    assert widened.facts[0].answers == (*of_paper, "The States")


def test_own_topics_cut_the_subject_out(tmp_path: Path) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text("P999: {question: 'What is {subject}?', templates: ['{subject} is']}")
    source = write(tmp_path, P999_test=[row("What is E?", "Y")])
    (fact,) = read_facts(source, topics=load_topics(path)).facts
    assert (fact.topic, fact.subject, fact.domain) == ("P999", "E", "in")
    with pytest.raises(UserError, match=r"holds no facts \(1 dropped: topic is unknown\)"):
        read_facts(source)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "P19.test.json: holds {} where a list of rows belongs"),
        ("[", "P19.test.json: is no JSON"),
        ("[1]", "P19.test.json, row 1: is no JSON object"),
        ('[{"question": "Where was A born?", "answers": ["X"]}, {}]', "row 2: question None"),
        ('[{"question": [3], "answers": ["X"]}]', "row 1: question [3] is no text"),
        ('[{"question": "A?", "answers": {"a": "b"}}]', "row 1: answers {'a': 'b'} is no list"),
        ('[{"question": "A?", "answers": "[X"}]', "row 1: answers '[X' begins like a list"),
        ('[{"question": "A?", "answers": [" "]}]', "holds no facts (1 dropped: no answer)"),
    ],
)
def test_refused_rows(tmp_path: Path, content: str, told: str) -> None:
    source = write(tmp_path, P19_test=[])
    (tmp_path / "test" / "P19.test.json").write_text(content)
    with pytest.raises(UserError) as refusal:
        read_facts(source)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_refused_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no file like train/P19\.train\.json"):
        read_facts(f"entity_questions:{tmp_path}")
    (tmp_path / "dataset.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="the folder that dataset"):
        read_facts(f"entity_questions:{tmp_path}/dataset.zip")


real = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"EntityQuestions is not beside the project, at {DATA}"
)

# Rows with a single answer, one for each distinct question of a set; in the order of the topics.
COUNTS = {
    ("train", "in"): [7953, 7988, 7981, 6642, 6760, 7682, 7949, 7645, 7843, 7501],
    ("validation", "in"): [994, 1000, 999, 873, 838, 976, 995, 976, 990, 939],
    ("test", "in"): [996, 999, 999, 863, 840, 965, 992, 967, 992, 942],
    ("train", "out"): [
        *(7627, 6273, 7745, 7175, 3676, 7834, 7673),
        *(6502, 7578, 7701, 7455, 4949, 7952, 1386),
    ],
    ("validation", "out"): [953, 805, 977, 898, 464, 980, 959, 842, 974, 966, 947, 629, 997, 172],
    ("test", "out"): [951, 801, 967, 918, 466, 987, 965, 845, 977, 971, 955, 623, 998, 189],
}


@pytest.fixture(scope="module")
def entity_questions() -> ReadFacts:
    return read_facts(f"entity_questions:{DATA}", aliases=None)


@real
def test_the_totals_of_the_paper(entity_questions: ReadFacts) -> None:
    sizes = Counter((fact.split, fact.domain) for fact in entity_questions.facts)
    # Paper section 1.
    assert sizes["train", "in"] == 75_944
    assert sizes["test", "in"] == 9_555
    assert sizes["test", "out"] == 11_613
    # What the paper does not use.
    assert sizes["train", "out"] == 91_526
    assert sizes["validation", "in"] == 9_580
    assert sizes["validation", "out"] == 11_563


@real
def test_the_counts_of_the_topics(entity_questions: ReadFacts) -> None:
    counts = Counter((fact.split, fact.domain, fact.topic) for fact in entity_questions.facts)
    for (split, domain), expected in COUNTS.items():
        names = [name for name, topic in builtin_topics().items() if topic.domain == domain]
        assert [counts[split, domain, name] for name in names] == expected


@real
def test_every_real_question_has_the_form_of_its_topic(entity_questions: ReadFacts) -> None:
    assert entity_questions.dropped == {"several answers": 9_159, "repeated question": 1_763}
    assert len(entity_questions.facts) + 9_159 + 1_763 == 220_703
    topics = topics_with()
    for fact in entity_questions.facts:
        assert topics[fact.topic].question(fact.subject) == fact.question


@real
@pytest.mark.parametrize("topic", builtin_topics().values(), ids=lambda t: t.topic)
def test_questions_with_several_answers_have_the_form_too(topic: Topic) -> None:
    for split in ("train", "dev", "test"):
        text = (DATA / split / f"{topic.topic}.{split}.json").read_text(encoding="utf-8")
        for asked in json.loads(text):
            subject = topic.subject(asked["question"])
            assert subject is not None, asked["question"]
            assert topic.question(subject) == asked["question"]


@real
def test_real_facts_read_back(entity_questions: ReadFacts, tmp_path: Path) -> None:
    # These two topics have questions that differ in case alone.
    facts = [fact for fact in entity_questions.facts if fact.topic in ("P170", "P740")]
    assert len({(fact.topic, fact.split, fold(fact.question)) for fact in facts}) < len(facts)
    facts_table(facts).write_parquet(tmp_path / "facts.parquet")
    assert read_facts(tmp_path / "facts.parquet") == (facts, {})


@real
def test_real_answers_stand_in_the_table_of_aliases(entity_questions: ReadFacts) -> None:
    answers = {answer for fact in entity_questions.facts for answer in fact.answers}
    for group in paper_aliases():
        assert answers & set(group), group
