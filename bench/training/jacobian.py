"""The head's vector-Jacobian product, written out: a graph exporter follows these steps, but not autograd's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from bench.training.model import Block, Head

Pull = Callable[[Tensor], Tensor]


def linearise(head: Head, tokens: Tensor, committed: Tensor, tau: Tensor, condition: Tensor) -> tuple[Tensor, Pull]:
    """Return the head's answer, as `Head.forward` does, and its vector-Jacobian product.

    That takes a vector v on the answer to v^T d answer / d tokens, both (B, 50, 14): the backward passes of a linear
    map, of layer normalisation and of silu, in reverse order.
    """
    phase = tau[:, None] * head.frequency[None]
    condition = head.condition(torch.cat([condition, phase.sin(), phase.cos()], dim=1))
    hidden = head.enter(torch.cat([tokens.flatten(1), committed], dim=1))
    pulls = []
    for block in head.blocks:
        hidden, pull = _through_block(block, hidden, condition)
        pulls.append(pull)
    norm, last = head.leave
    normal, pull_norm = _through_norm(norm, hidden)
    clean = last(normal).reshape(tokens.shape)

    def back(vector: Tensor) -> Tensor:
        gradient = pull_norm(vector.flatten(1) @ last.weight)
        for pull in reversed(pulls):
            gradient = pull(gradient)
        # Only the tokens' columns: what is committed is given.
        return (gradient @ head.enter.weight)[:, : tokens[0].numel()].reshape(tokens.shape)

    return clean, back


def _through_block(block: Block, hidden: Tensor, condition: Tensor) -> tuple[Tensor, Pull]:
    normal, pull_norm = _through_norm(block.norm, hidden)
    raised = block.up(normal) + block.inject(condition)
    gate = torch.sigmoid(raised)
    slope = gate * (1.0 + raised * (1.0 - gate))

    def back(vector: Tensor) -> Tensor:
        return vector + pull_norm((vector @ block.down.weight * slope) @ block.up.weight)

    return hidden + block.down(raised * gate), back


def _through_norm(norm: nn.LayerNorm, hidden: Tensor) -> tuple[Tensor, Pull]:
    centred = hidden - hidden.mean(1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + norm.eps)
    normal = centred * scale

    def back(vector: Tensor) -> Tensor:
        weighted = vector * norm.weight
        along = (weighted * normal).mean(1, keepdim=True)
        return scale * (weighted - weighted.mean(1, keepdim=True) - normal * along)

    return normal * norm.weight + norm.bias, back
