#!/usr/bin/env bash
# A list column that `datasets` writes into CSV stands there as NumPy prints it, without commas:
# ['Oslo' 'Christiania']. Python's reader of literals, which answers a text like Python's own lists,
# joins the two names into one without an error: ['OsloChristiania'].
#
# Versions: datasets 5.2.0, pandas 3.1.1, numpy 2.4.6 (Python 3.11).
# Expected: `Dataset.to_csv` writes what reads back as the same list (JSON, or a list of Python's),
#   or refuses a column that CSV cannot hold.
# What happens: the list goes through pandas as a NumPy array; ast.literal_eval of the cell gives one
#   name, json.loads refuses it, and load_dataset gives the text back. A list of more than 1,000
#   items is cut short ("...").
# Output seen:
#   datasets 5.2.0, pandas 3.1.1, numpy 2.4.6
#   cell: ['Oslo' 'Christiania']
#   ast.literal_eval: ['OsloChristiania']
#   a cell of 1,500 items has 6 left and is cut short: True
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0 pandas==3.1.1 numpy==2.4.6

cd "$work"
HF_HOME="$work/hf" "$work/venv/bin/python" - <<'PYTHON'
import ast
import csv
import json

import datasets
import numpy
import pandas

datasets.disable_progress_bars()
print(f"datasets {datasets.__version__}, pandas {pandas.__version__}, numpy {numpy.__version__}")
names = ["Oslo", "Christiania"]
many = [f"name {number}" for number in range(1500)]
made = datasets.Dataset.from_dict({"question": ["A?", "B?"], "answers": [names, many]})
made.to_csv("answers.csv")
with open("answers.csv", newline="", encoding="utf-8") as file:
    first, second = (row["answers"] for row in csv.DictReader(file))
print("cell:", first)
read = ast.literal_eval(first)
print("ast.literal_eval:", read)
num_left = second.count("name ")
print(f"a cell of 1,500 items has {num_left} left and is cut short:", "..." in second)
try:
    json.loads(first)
except ValueError:
    pass
else:
    raise SystemExit("changed: the cell is JSON")
if read != ["OsloChristiania"] or num_left != 6 or "..." not in second:
    raise SystemExit("changed: lists in CSV are written otherwise")
PYTHON
