"""Facts written as tasks of lm-evaluation-harness."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sftlens.errors import UserError
from sftlens.facts import Fact, Matching, matches
from sftlens.generation import question_prompt
from sftlens.locks import locked
from sftlens.outputs import new_folder
from sftlens.scoring._harness import _functions
from sftlens.scoring._score import ScoreSettings

GROUP = "sftlens"

_GROUP = """\
group: {group}
task:
{tasks}
metadata:
  version: 1
"""

# repetition_penalty: a model's own generation_config.json may hold another, and greedy decoding
# would follow it. until: without it, the harness ends a text at an empty line.
_TASK = """\
task: {task}
custom_dataset: !function utils.read_facts
dataset_kwargs:
  name: {task}
test_split: facts
output_type: generate_until
doc_to_text: !function utils.prompt
doc_to_target: !function utils.answers
process_results: !function utils.{matching}  # contains, words or exact
num_fewshot: 0
generation_kwargs:
  do_sample: false
  max_gen_toks: {max_gen_toks}
  repetition_penalty: 1.0
  until: []
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""

_IMPORTS = "import json\nfrom pathlib import Path\nfrom typing import Any\n"


def export_harness_tasks(
    facts: Iterable[Fact], out: Path, settings: ScoreSettings | None = None
) -> list[str]:
    """Write facts as tasks of lm-evaluation-harness, one for each domain and split.

    The folder is what the harness takes as ``--include_path``. It holds for each task, such as
    ``sftlens_in_test``, its YAML file and its facts (JSON lines), the group ``sftlens`` of all of
    them, and the code that judges answers, which needs no sftlens and may be moved with the rest.
    A task asks as :func:`sftlens.scoring.score` does: zero-shot, greedily, with the training
    prompt. Its metric ``acc`` is the share of all its facts; the harness knows no mastery levels.

    :func:`load_harness_tasks` and :func:`evaluate_harness_tasks` give the very answers that our
    own scoring gives. The harness's own command does too, unless the model folder brings along a
    generation config with lengths or further penalties of its own, a tokenizer that puts an end of
    text behind a prompt or tidies blanks, or a prompt is too long, which it cuts and we refuse.

    Args:
        facts: what to ask, each in the task of its domain and split.
        out: the folder, absent or empty; appears whole or not at all.
        settings: length and matching of the answers.

    Returns:
        The names of the tasks.

    Raises:
        UserError: when there are no facts, or ``out`` holds something.
    """
    settings = settings or ScoreSettings()
    asked: dict[str, list[Fact]] = {}
    for fact in facts:
        asked.setdefault(f"{GROUP}_{fact.domain}_{fact.split}", []).append(fact)
    if not asked:
        raise UserError(f"{out}: would be a task of no facts; choose others")
    tasks = sorted(asked)
    with locked(out), new_folder(out) as work:
        listed = "\n".join(f"  - {task}" for task in tasks)
        _write(work / f"{GROUP}.yaml", _GROUP.format(group=GROUP, tasks=listed))
        _write(work / "utils.py", _code())
        for task in tasks:
            _write(work / f"{task}.yaml", _yaml(task, settings.matching, settings.max_new_tokens))
            _write(work / f"{task}.jsonl", "".join(map(_line, asked[task])))
    return tasks


def _yaml(task: str, matching: Matching, max_gen_toks: int) -> str:
    return _TASK.format(task=task, matching=matching, max_gen_toks=max_gen_toks)


def _line(fact: Fact) -> str:
    doc = {
        "fact_id": fact.fact_id,
        "topic": fact.topic,
        "subject": fact.subject,
        "question": fact.question,
        "answers": list(fact.answers),
        "prompt": question_prompt(fact.question),
    }
    return json.dumps(doc, ensure_ascii=False) + "\n"


def _code() -> str:
    """Our own matching and the functions of a task, as one file that imports nothing of ours."""
    matching = inspect.getmodule(matches)
    assert matching is not None
    functions: Sequence[object] = (
        _functions.read_facts,
        _functions.prompt,
        _functions.answers,
        _functions.contains,
        _functions.words,
        _functions.exact,
    )
    parts = [inspect.getsource(function) for function in functions]  # type: ignore[arg-type]
    return "\n\n".join([inspect.getsource(matching) + "\n\n" + _IMPORTS, *parts])


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
