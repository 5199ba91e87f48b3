#!/usr/bin/env bash
# datasets takes the name of a local folder for a glob pattern.
#
# Versions: datasets 5.2.0, fsspec 2026.9.0.
# Expected: load_dataset(FOLDER) of a folder that exists loads the files in that folder.
# Happens:  the folder's name becomes the beginning of the pattern that its files are looked for by.
#           Of `exp[1]`, as tools number their runs, no file is found. Of `run*`, the rows of the
#           folder `run-b` beside it are loaded as well, without a word.
# Seen:
#   datasets 5.2.0
#   exp[1]: EmptyDatasetError
#   run*: ['mine', 'not mine']
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet datasets==5.2.0 fsspec==2026.9.0
mkdir "$place/exp[1]" "$place/run*" "$place/run-b"
for folder in 'exp[1]' 'run*'; do echo '{"question": "mine"}' > "$place/$folder/train.jsonl"; done
echo '{"question": "not mine"}' > "$place/run-b/train.jsonl"

cd "$place"
HF_HOME="$place/cache" HF_HUB_OFFLINE=1 "$place/venv/bin/python" - <<'END'
import sys

import datasets

datasets.disable_progress_bars()
print("datasets", datasets.__version__)
try:
    numbered = datasets.load_dataset("exp[1]", split="train")["question"][:]
except Exception as error:
    numbered = type(error).__name__
print("exp[1]:", numbered)
starred = sorted(datasets.load_dataset("run*", split="train")["question"][:])
print("run*:", starred)
if numbered != "EmptyDatasetError" or starred != ["mine", "not mine"]:
    sys.exit("the behaviour has changed")
END
