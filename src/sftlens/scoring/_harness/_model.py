"""A loaded model as lm-evaluation-harness takes it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sftlens.generation import NotFiniteError, not_finite, padding_token, require_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def harness_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Any:
    """A model of the harness that tokenizes and decodes as :mod:`sftlens.generation` does.

    The tokenizer is copied, since the harness sets its padding. No end of text follows a prompt or
    is part of what the model wrote, and blanks around punctuation stay as they are. To be used
    within :func:`as_it_is`.
    """
    import torch
    from lm_eval.models.huggingface import HFLM

    class Model(HFLM):  # type: ignore[misc]
        def _require_finite(self, ids: torch.Tensor, logits: torch.Tensor) -> None:
            # (num_prompts, vocab_size), or with a place for each token between the two.
            try:
                require_finite(logits.flatten(end_dim=-2))
            except NotFiniteError as error:
                row = ids[error.row * len(ids) // (logits.numel() // logits.shape[-1])]
                prompt = self.tokenizer.decode(row, skip_special_tokens=True)
                raise not_finite(self.model, prompt, error.fault) from None

        def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
            ids: list[int] = super().tok_encode(string, *args, **options)
            return ids[:-1] if ids and ids[-1] == self.eot_token_id else ids

        def tok_batch_encode(self, strings: list[str], *args: Any, **options: Any) -> Any:
            ids, mask = super().tok_batch_encode(strings, *args, **options)
            if ids.shape[1] > 1 and (ids[:, -1] == self.eot_token_id).all():
                return ids[:, :-1], mask[:, :-1]
            return ids, mask

        def _model_call(self, inps: torch.Tensor, *args: Any, **options: Any) -> Any:
            logits = super()._model_call(inps, *args, **options)
            self._require_finite(inps, logits)
            return logits

        def _model_generate(self, context: torch.Tensor, *args: Any, **options: Any) -> Any:
            def finite(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
                self._require_finite(ids, scores)
                return scores

            ids = super()._model_generate(context, *args, logits_processor=[finite], **options)
            new = ids[:, context.shape[1] :]
            ends = torch.tensor(self.model.generation_config.eos_token_id, device=new.device)
            new[torch.isin(new, ends).cumsum(dim=1) > 0] = self.eot_token_id
            return ids

    own = copy.deepcopy(tokenizer)
    if tokenizer.pad_token_id is not None:
        own.pad_token = tokenizer.convert_ids_to_tokens(padding_token(model, tokenizer))
    own.clean_up_tokenization_spaces = False
    return Model(pretrained=model, tokenizer=own, batch_size=batch_size, backend="causal")


@contextmanager
def as_it_is(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Keep a model from being changed by the harness, and from changing what a task asks for.

    For a block, the settings of its generation config give way to the task's, but for the tokens
    that end a text; and its weights are not tied anew, which would overwrite a head that is stored
    apart from the embeddings although the config ties them.
    """
    from transformers import GenerationConfig

    before = model.generation_config
    eos = None if before is None else before.eos_token_id
    ids = eos if isinstance(eos, list) else [eos]
    ends = sorted({i for i in [*ids, tokenizer.eos_token_id] if i is not None})
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends
    )
    model.tie_weights = lambda *_, **__: None
    try:
        yield
    finally:
        del model.tie_weights
        model.generation_config = before
