#!/usr/bin/env bash
# PEFT's merge adds the update of tied embeddings twice, with ensure_weight_tying=True.
#
# Packages: peft 0.21.2, transformers 5.23.0, torch 2.13.0; Python 3.11.
# Expected: ensure_weight_tying=True trains one LoRA update for the embeddings and the head that the
#   base ties to each other, so merge_and_unload() adds it once to the weight that they share, and
#   the merged model has the logits of the adapted one.
# Happens: the adapted model, trained, saved and loaded again, is exact; merge_and_unload() merges
#   the embeddings and then the head into the same weight, which moves by twice the update. The
#   merged logits are as far off as the base's own. The one warning comes while the adapter is
#   added, says that merging "can lead to complications" and advises to clone the weights, which is
#   what ensure_weight_tying is there to avoid. Adding scaling * B @ A once by hand is exact.
#
# Seen:
#   peft 0.21.2, transformers 5.23.0, torch 2.13.0+cpu
#   largest difference from the logits that were trained
#     the base             4.6
#     adapter, loaded      0
#     update added once    9.5e-07
#     merge_and_unload     4.7
#   the shared weight moved by 2.00 times the update
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 peft==0.21.2

cat > "$work/run.py" <<'PYTHON'
import sys
import warnings

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig

warnings.simplefilter("ignore")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
work = sys.argv[1]
tokens = torch.arange(5, 25)[None]
torch.manual_seed(0)
AutoModelForCausalLM.from_config(
    LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )
).save_pretrained(f"{work}/base")


def base():
    return AutoModelForCausalLM.from_pretrained(f"{work}/base")


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=tokens).logits


config = peft.LoraConfig(
    r=4, target_modules=["embed_tokens"], ensure_weight_tying=True, task_type="CAUSAL_LM"
)
model = peft.get_peft_model(base(), config)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
for _ in range(3):
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
trained = logits(model)
model.save_pretrained(f"{work}/adapter")

loaded = peft.PeftModel.from_pretrained(base(), f"{work}/adapter")
update = loaded.get_input_embeddings().get_delta_weight("default").detach().clone()
once = base()
with torch.no_grad():
    once.get_input_embeddings().weight += update
off = {
    "the base": logits(base()),
    "adapter, loaded": logits(loaded),
    "update added once": logits(once),
}
merged = loaded.merge_and_unload()
off["merge_and_unload"] = logits(merged)
off = {name: float((one - trained).abs().max()) for name, one in off.items()}
moved = merged.get_input_embeddings().weight.detach() - base().get_input_embeddings().weight
times = float((moved.flatten() @ update.flatten()) / update.square().sum())

print(
    f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
)
print("largest difference from the logits that were trained")
for name, value in off.items():
    print(f"  {name:<20} {value:.2g}")
print(f"the shared weight moved by {times:.2f} times the update")
assert off["adapter, loaded"] < 1e-5 and off["update added once"] < 1e-4, "CHANGED: the adapter"
assert off["merge_and_unload"] > 0.1, "CHANGED: the merge gives the trained model"
assert round(times, 2) == 2, "CHANGED: the update is not merged twice"
PYTHON
"$work/venv/bin/python" "$work/run.py" "$work"
