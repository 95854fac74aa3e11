"""The transformer of Wan2.2 and the narrower ones that run beside it on the same heads.

Shapes from Wan2.2 (wan/modules/model.py) and FastWAM (configs/model/fastwam.yaml): width 3072, 24 heads of 128, 30
blocks of self-attention, attention to the text, and a feed-forward, modulated by the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.twins import layers
from bench.twins.layers import KeysValues, RmsNorm, Rope

At = tuple[Tensor, Tensor, Tensor]
"""What a step has of its own: its time (1,), each block's modulation (blocks, 6, width), the time embedded (width,)."""


@dataclass(frozen=True)
class DitShape:
    """A stack of blocks. `heads` of `head` numbers each, whatever the width is."""

    depth: int = 30
    width: int = 3072
    mlp: int = 14_336
    heads: int = 24
    head: int = 128
    text: int = 4096
    time: int = 256

    @property
    def inner(self) -> int:
        """Numbers of all heads."""
        return self.heads * self.head


TRUNK: Final = DitShape()
ACTION_EXPERT: Final = DitShape(width=1024, mlp=4096)
TINY_TRUNK: Final = DitShape(depth=3, width=48, mlp=64, heads=4, head=12, text=20, time=16)
TINY_EXPERT: Final = DitShape(depth=3, width=24, mlp=32, heads=4, head=12, text=20, time=16)


class Block(nn.Module):  # type: ignore[misc]
    """A block, in the parts that caches need. `mods` (6, ..., width): shift, scale, gate of attention and MLP."""

    def __init__(self, shape: DitShape) -> None:
        super().__init__()
        width, inner = shape.width, shape.inner
        self._shape = shape
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.norm3 = nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.norm_q, self.norm_k = RmsNorm(inner), RmsNorm(inner)
        self.text_q, self.text_kv = nn.Linear(width, inner), nn.Linear(width, 2 * inner)
        self.text_norm_q, self.text_norm_k = RmsNorm(inner), RmsNorm(inner)
        self.text_out = nn.Linear(inner, width)
        self.up, self.down = nn.Linear(width, shape.mlp), nn.Linear(shape.mlp, width)
        self.modulation = nn.Parameter(torch.zeros(6, width))

    def project(self, x: Tensor, mods: Tensor, rope: Rope, *, plain: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of (B, L, width)."""
        seen = self.norm1(x) * (1.0 + mods[1]) + mods[0]
        q, k, v = layers.project(self.qkv, seen, (self._shape.inner,) * 3, plain=plain)
        query, key = layers.heads(self.norm_q(q), self._shape.heads), layers.heads(self.norm_k(k), self._shape.heads)
        return layers.rotate_pairs(query, rope), layers.rotate_pairs(key, rope), layers.heads(v, self._shape.heads)

    def read(self, text: Tensor, *, plain: bool) -> KeysValues:
        """Return the keys and values of embedded text (B, L, width)."""
        k, v = layers.project(self.text_kv, text, (self._shape.inner,) * 2, plain=plain)
        return layers.heads(self.text_norm_k(k), self._shape.heads), layers.heads(v, self._shape.heads)

    def finish(self, x: Tensor, mixed: Tensor, mods: Tensor, text: KeysValues, *, plain: bool) -> Tensor:
        """Return the block's output from its input, what attention gave, and the text's keys and values."""
        x = x + mods[2] * self.out(mixed)
        query = layers.heads(self.text_norm_q(self.text_q(self.norm3(x))), self._shape.heads)
        x = x + self.text_out(layers.attend(query, *text, plain=plain))
        seen = self.norm2(x) * (1.0 + mods[4]) + mods[3]
        hidden: Tensor = x + mods[5] * self.down(functional.gelu(self.up(seen), approximate="tanh"))
        return hidden


class Embedder(nn.Module):  # type: ignore[misc]
    """What time and text are before they reach the blocks."""

    def __init__(self, shape: DitShape) -> None:
        super().__init__()
        width = shape.width
        self._time = shape.time
        self.text1, self.text2 = nn.Linear(shape.text, width), nn.Linear(width, width)
        self.time1, self.time2 = nn.Linear(shape.time, width), nn.Linear(width, width)
        self.mods = nn.Linear(width, 6 * width)

    def text(self, text: Tensor) -> Tensor:
        """Return text (B, L, text) as (B, L, width)."""
        embedded: Tensor = self.text2(functional.gelu(self.text1(text), approximate="tanh"))
        return embedded

    def time(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding (N, width) of times (N,) and what it adds to the blocks' modulation (N, 6, width)."""
        embedded = self.time2(functional.silu(self.time1(layers.wave(times, self._time).to(self.time1.weight.dtype))))
        return embedded, self.mods(functional.silu(embedded)).unflatten(-1, (6, -1))


class Dit(nn.Module):  # type: ignore[misc]
    """A stack of blocks with its embedder."""

    def __init__(self, shape: DitShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = Embedder(shape)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))

    def table(self, times: Tensor) -> Tensor:
        """Return every block's modulation at each of some times, (blocks, N, 6, width)."""
        _, added = self.embed.time(times)
        return torch.stack([block.modulation + added for block in self.blocks])

    def texts(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return every block's keys and values of a text (1, L, text), each (blocks, 1, heads, L, head)."""
        embedded = self.embed.text(text)
        pairs = [block.read(embedded, plain=False) for block in self.blocks]
        return torch.stack([keys for keys, _ in pairs]), torch.stack([values for _, values in pairs])


class Head(nn.Module):  # type: ignore[misc]
    """The last, modulated projection of a stack."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Parameter(torch.zeros(2, width))
        self.out = nn.Linear(width, out)

    def forward(self, x: Tensor, embedded_time: Tensor) -> Tensor:
        """Return (B, L, out) of (B, L, width) at a time embedded as (width,)."""
        shift, scale = self.modulation + embedded_time
        projected: Tensor = self.out(self.norm(x) * (1.0 + scale) + shift)
        return projected
