#!/usr/bin/env bash
# A tokenizer folder with "add_bos_token": true that adds no BOS under transformers 5.
#
# Packages: transformers 4.57.1 with tokenizers 0.22.1; transformers 5.23.0 with tokenizers 0.23.3.
# Expected: the documented option of LlamaTokenizer and GemmaTokenizer, "add_bos_token (bool,
#   optional, defaults to True)", stands in tokenizer_config.json and decides, as in version 4.
# Happens: version 5 drops add_bos_token while loading as soon as a tokenizer.json lies beside it.
#   The post-processor of tokenizer.json decides alone, which files that were converted from
#   SentencePiece or GGUF may lack. The same folder gives [BOS, a] in version 4 and [a] in version 5,
#   without a warning, and for Gemma, which was never trained without BOS, another model.
#   Setting the attribute after loading and saving again is what lasts.
# Output seen:
#   4.57.1 LlamaTokenizerFast [0, 3]
#   5.23.0 LlamaTokenizerFast [3]
#   4.57.1 GemmaTokenizerFast [0, 3]
#   5.23.0 GemmaTokenizerFast [3]
#   5.23.0 set, saved, loaded [0, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for pins in "transformers==4.57.1 tokenizers==0.22.1" "transformers==5.23.0 tokenizers==0.23.3"; do
    venv="$work/${pins//[ =]/-}"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet --disable-pip-version-check $pins
    venvs+=("$venv")
done
cat >"$work/make.py" <<'PYTHON'
import json, sys
from pathlib import Path
from tokenizers import Tokenizer, models

folder, kind = Path(sys.argv[1]), sys.argv[2]
folder.mkdir()
words = {"<bos>": 0, "<eos>": 1, "<unk>": 2, "a": 3, "<pad>": 4}
own = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
own.add_special_tokens(["<bos>", "<eos>", "<unk>", "<pad>"])
own.save(str(folder / "tokenizer.json"))
config = {"tokenizer_class": kind, "add_bos_token": True, "add_eos_token": False}
config |= {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
(folder / "tokenizer_config.json").write_text(json.dumps(config))
PYTHON
cat >"$work/ids.py" <<'PYTHON'
import sys, transformers
from transformers import AutoTokenizer

transformers.logging.set_verbosity_error()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
if len(sys.argv) > 3:
    tokenizer.add_bos_token = True
    tokenizer.save_pretrained(sys.argv[3])
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[3])
print(transformers.__version__, sys.argv[2], tokenizer("a")["input_ids"])
PYTHON
for kind in LlamaTokenizerFast GemmaTokenizerFast; do
    "${venvs[1]}/bin/python" "$work/make.py" "$work/$kind" "$kind"
    for venv in "${venvs[@]}"; do
        "$venv/bin/python" "$work/ids.py" "$work/$kind" "$kind" 2>/dev/null | tee -a "$work/seen"
    done
done
"${venvs[1]}/bin/python" "$work/ids.py" "$work/GemmaTokenizerFast" "set, saved, loaded" "$work/new" \
    2>/dev/null | tee -a "$work/seen"
sed -n 's/^#   \([45]\..*\)/\1/p' "$0" | diff - "$work/seen"
