"""The twin of Cosmos-Policy: Cosmos-Predict2-2B denoises pictures, joints, actions and a value, all of them latents.

Shapes from cosmos-predict2 (cosmos_predict2/models/text2image_dit.py, configs/base/config_video2world.py) and the ALOHA
setting of cosmos-policy: 11 latent frames of 28x28 (a blank, joints, three views; then actions, and joints, views and
a value to come), the first five given; chunks of 50. Nothing can be cached but the text: every token sees every other
in every step. The VAE and the text's encoder are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.twins import layers
from bench.twins.layers import KeysValues, RmsNorm, Rope

PATCH: Final = 2
MASKS: Final = 2
"""Channels besides the latents: which places are padding, and which frames are given."""


@dataclass(frozen=True)
class CosmosShape:
    """The transformer and the sequence of the ALOHA setting."""

    depth: int = 28
    width: int = 2048
    mlp: int = 8192
    heads: int = 16
    rank: int = 256
    text: int = 1024
    words: int = 512
    latent: int = 16
    frames: int = 11
    given: int = 5
    side: int = 28
    horizon: int = 50
    action: int = 14
    steps: int = 10

    @property
    def head(self) -> int:
        """Numbers of a head."""
        return self.width // self.heads

    @property
    def frame_tokens(self) -> int:
        """Tokens of a latent frame."""
        return (self.side // PATCH) ** 2


TINY: Final = CosmosShape(
    depth=2, width=48, mlp=64, heads=4, rank=6, text=10, words=5, latent=4, side=8, horizon=5, action=6, steps=3
)


class Adapter(nn.Module):  # type: ignore[misc]
    """Shift, scale and gate from the time, through a low rank."""

    def __init__(self, width: int, rank: int, parts: int = 3) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, parts * width, bias=False)
        self._parts = parts

    def forward(self, embedded: Tensor, shared: Tensor) -> Tensor:
        """Return (N, parts, width) of embedded times (N, width) and what all blocks share (N, 3 * width)."""
        mods: Tensor = self.up(self.down(functional.silu(embedded)))
        return (mods + shared[:, : mods.shape[1]]).unflatten(1, (self._parts, -1))


class Block(nn.Module):  # type: ignore[misc]
    """Self-attention, attention to the text, feed-forward, each modulated by the time."""

    def __init__(self, shape: CosmosShape) -> None:
        super().__init__()
        width = shape.width
        self._shape = shape
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.norm_q, self.norm_k = RmsNorm(shape.head), RmsNorm(shape.head)
        self.text_q = nn.Linear(width, width, bias=False)
        self.text_kv = nn.Linear(shape.text, 2 * width, bias=False)
        self.text_norm_q, self.text_norm_k = RmsNorm(shape.head), RmsNorm(shape.head)
        self.text_out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, shape.mlp, bias=False), nn.Linear(shape.mlp, width, bias=False)
        self.adapters = nn.ModuleList(Adapter(width, shape.rank) for _ in range(3))

    def mods(self, embedded: Tensor, shared: Tensor) -> Tensor:
        """Return (N, 9, width) of times embedded as (N, width)."""
        return torch.cat([adapter(embedded, shared) for adapter in self.adapters], dim=1)

    def read(self, text: Tensor, *, plain: bool) -> KeysValues:
        """Return the keys and values of a text (1, L, text)."""
        k, v = layers.project(self.text_kv, text, (self._shape.width,) * 2, plain=plain)
        return self.text_norm_k(layers.heads(k, self._shape.heads)), layers.heads(v, self._shape.heads)

    def forward(self, x: Tensor, mods: Tensor, rope: Rope, text: KeysValues, *, plain: bool) -> Tensor:
        """Return (frames, L, width) of the same; `mods` (frames, 9, width)."""
        count = self._shape.heads
        shift, scale, gate, shift2, scale2, gate2, shift3, scale3, gate3 = mods[:, :, None].unbind(1)
        seen = (self.norm(x) * (1.0 + scale) + shift).flatten(0, 1)[None]
        q, k, v = layers.project(self.qkv, seen, (self._shape.width,) * 3, plain=plain)
        query = layers.rotate_halves(self.norm_q(layers.heads(q, count)), rope)
        keys = layers.rotate_halves(self.norm_k(layers.heads(k, count)), rope)
        mixed = self.out(layers.attend(query, keys, layers.heads(v, count), plain=plain))
        x = x + gate * mixed.view(x.shape)
        seen = (self.norm(x) * (1.0 + scale2) + shift2).flatten(0, 1)[None]
        query = self.text_norm_q(layers.heads(self.text_q(seen), count))
        x = x + gate2 * self.text_out(layers.attend(query, *text, plain=plain)).view(x.shape)
        seen = self.norm(x) * (1.0 + scale3) + shift3
        hidden: Tensor = x + gate3 * self.down(functional.gelu(self.up(seen)))
        return hidden


class Cosmos(nn.Module):  # type: ignore[misc]
    """Cosmos-Policy with random weights; `plain` as `bench.twins.layers` says."""

    def __init__(self, shape: CosmosShape) -> None:
        super().__init__()
        width = shape.width
        self.plain = False
        self.shape = shape
        self.patch_in = nn.Linear((shape.latent + MASKS) * PATCH**2, width, bias=False)
        self.time1, self.time2 = nn.Linear(width, width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.time_norm = RmsNorm(width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.last = Adapter(width, shape.rank, parts=2)
        self.out = nn.Linear(width, shape.latent * PATCH**2, bias=False)

    def phases(self) -> tuple[str, ...]:
        """Return the names of the methods that a call is made of."""
        return ("denoise",)

    def example(self, seed: int) -> tuple[Tensor, ...]:
        """Return the given latents (given, latent, side, side) and noise (frames, latent, side, side)."""
        shape, generator = self.shape, torch.Generator().manual_seed(seed)
        size = (shape.latent, shape.side, shape.side)
        return tuple(torch.randn(count, *size, generator=generator) for count in (shape.given, shape.frames))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def prepare(self) -> None:
        """Compute the rotary table, every step's modulations, the text's keys and values, and the masks."""
        shape, like = self.shape, self.patch_in.weight
        text = torch.randn(1, shape.words, shape.text, generator=torch.Generator().manual_seed(0))
        self._keep("text", text.to(like))
        pairs = [block.read(self.text, plain=False) for block in self.blocks]
        self._keep("text_keys", torch.stack([keys for keys, _ in pairs]))
        self._keep("text_values", torch.stack([values for _, values in pairs]))
        side = shape.side // PATCH
        for part, values in zip(("cos", "sin"), layers.grid_table(shape.frames, side, side, shape.head), strict=True):
            self._keep(part, values.to(like.device))
        given = torch.arange(shape.frames, device=like.device) < shape.given
        self._keep("given", given[:, None, None, None])
        masks = torch.zeros(shape.frames, MASKS, shape.side, shape.side, device=like.device)
        masks[:, 1] = given[:, None, None]
        self._keep("masks", masks.to(like.dtype))
        steps = torch.arange(shape.steps, device=like.device)
        self._keep("times", torch.where(given, 0.0, 1.0 - steps[:, None] / shape.steps).float())
        made = [self._time(self.times[step]) for step in range(shape.steps)]
        self._keep("mods", torch.stack([torch.stack([b.mods(*time) for b in self.blocks]) for time in made]))
        self._keep("last_mods", torch.stack([self.last(*time) for time in made]))

    def forward(self, given: Tensor, noise: Tensor) -> Tensor:
        """Return the chunk (horizon, action), float32, that the latent frame of the actions spells repeatedly."""
        shape = self.shape
        x = noise.float()
        clean = torch.cat((given.float(), x[shape.given :]))
        x = torch.where(self.given, clean, x)
        for step in range(shape.steps):
            x = torch.where(self.given, x, x - self.denoise(x, self.at(step)) / shape.steps)
        numbers = x[shape.given].flatten()
        size = shape.horizon * shape.action
        repeats = len(numbers) // size
        return numbers[: repeats * size].view(repeats, shape.horizon, shape.action).mean(dim=0)

    def at(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a step's times (frames,) and the modulations of the blocks (blocks, frames, 9, width) and the last."""
        return self.times[step], self.mods[step], self.last_mods[step]

    def denoise(self, x: Tensor, at: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the velocity of all frames (frames, latent, side, side), float32, at a step."""
        plain = self.plain
        masked = torch.cat((x.to(self.masks.dtype), self.masks), dim=1)
        tokens = self.patch_in(functional.pixel_unshuffle(masked, PATCH).flatten(2).transpose(1, 2))
        times, made, last = at
        time = self._time(times) if plain else None
        for i, block in enumerate(self.blocks):
            if time is None:
                mods, text = made[i], (self.text_keys[i], self.text_values[i])
            else:
                mods, text = block.mods(*time), block.read(self.text, plain=True)
            tokens = block(tokens, mods, (self.cos, self.sin), text, plain=plain)
        last = last if time is None else self.last(*time)
        shift, scale = last[:, :, None].unbind(1)
        patches = self.out(self.norm(tokens) * (1.0 + scale) + shift).transpose(1, 2)
        side = self.shape.side // PATCH
        velocity: Tensor = functional.pixel_shuffle(patches.unflatten(2, (side, side)), PATCH).float()
        return velocity

    def _time(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return times (N,) embedded (N, width), and what all adapters share of them (N, 3 * width)."""
        wave = layers.wave(times, self.shape.width).to(self.time1.weight.dtype)
        return self.time_norm(wave), self.time2(functional.silu(self.time1(wave)))

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)
