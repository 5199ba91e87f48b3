"""Fine-tune with TRL as its documentation has it.

usage: python _plain_sft.py BASE ROWS.jsonl OUT LEARNING_RATE SEED
"""

from __future__ import annotations

import sys
import tempfile

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    base, rows, out, rate, seed = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                per_device_train_batch_size=8,
                num_train_epochs=1,
                learning_rate=float(rate),
                lr_scheduler_type="cosine",
                warmup_steps=0.0,
                weight_decay=0.0,
                completion_only_loss=True,
                max_length=None,
                gradient_checkpointing=False,
                bf16=torch.cuda.is_available(),
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                report_to="none",
                seed=int(seed),
            ),
            train_dataset=Dataset.from_json(rows),
            processing_class=tokenizer,
        )
        trainer.train()
        trainer.save_model(out)


if __name__ == "__main__":
    main()
