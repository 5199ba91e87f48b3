"""Updates restricted to a sparse mask."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sftlens.errors import UserError
from sftlens.tuning._methods._method import Changes, MethodSettings, Training

if TYPE_CHECKING:
    import torch


class Sparse(MethodSettings):
    """Only some entries of the decoder blocks' weights are trained, the others stay the base's.

    ``gradient`` takes those with the largest squared gradient, summed over the training batches at
    the base (FISH mask, arXiv 2111.09839), ``random`` draws them. A mask of one byte an entry is
    kept; choosing by gradient takes four more while it lasts.
    """

    name: Literal["sparse"] = "sparse"
    strength: float = Field(60.0, gt=0, le=100, description="percent of the entries trained")
    rule: Literal["gradient", "random"] = Field("gradient", description="which are trained")

    def changes(self, training: Training) -> Changes:
        import torch

        from sftlens.tuning._methods._origin import Whole
        from sftlens.weights import region_parameters

        if training.weight_decay:
            raise UserError(
                f"weight_decay {training.weight_decay:g} would move the entries that sparse leaves "
                "alone; set it to 0"
            )
        named = dict(training.model.named_parameters())
        region = region_parameters(training.folder, named, "blocks")
        for name, parameter in named.items():
            parameter.requires_grad_(name in region)
        trained = [parameter for name, parameter in named.items() if name in region]
        if self.rule == "gradient":
            masks = _by_gradient(training, trained, self.strength)
        else:
            draw = torch.Generator().manual_seed(training.seed)
            masks = [
                (torch.rand(p.shape, generator=draw) < self.strength / 100).to(p.device)
                for p in trained
            ]
        for parameter, mask in zip(trained, masks, strict=True):
            parameter.register_hook(_only(mask))
        return Changes(callbacks=[Whole(trained)], kept_bytes=sum(mask.nbytes for mask in masks))


def _only(mask: torch.Tensor) -> Any:
    return lambda gradient: gradient * mask


def _by_gradient(
    training: Training, trained: list[torch.nn.Parameter], percent: float
) -> list[torch.Tensor]:
    import torch

    from sftlens.tuning._methods._threshold import threshold
    from sftlens.tuning._methods._tokens import batches, tokenized

    rows = tokenized(training.rows, training.tokenizer)
    pad = training.tokenizer.eos_token_id
    sums = [torch.zeros_like(parameter) for parameter in trained]
    given = [row.ids for row in rows]
    for numbers, ids, mask in batches(given, pad, training.model.device, training.batch_size):
        labels = ids.masked_fill(mask == 0, -100)
        for place, number in enumerate(numbers):
            labels[place, : rows[number].num_prompt] = -100
        loss = training.model(
            input_ids=ids, attention_mask=mask, labels=labels, use_cache=False
        ).loss
        for total, gradient in zip(sums, torch.autograd.grad(loss, trained), strict=True):
            total.add_(gradient.square())
    wanted = max(1, math.floor(sum(total.numel() for total in sums) * percent / 100))
    least = threshold(lambda: sums, wanted)
    return [total >= least for total in sums]
