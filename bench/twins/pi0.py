"""The twin of pi0: SigLIP So400m/14, PaliGemma's Gemma 2B over pictures and prompt, a 300M action expert, 10 steps.

Shapes from openpi (src/openpi/models/{gemma,siglip,pi0}.py). The keys and values of pictures and prompt are computed
once a call. Served, the state token's are too: it looks at the prefix and itself only and knows no time, so in every
step it is the same. What is projected from actions and time before the expert is two linear maps in a row: one matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.twins import layers, staging
from bench.twins.layers import KeysValues, RmsNorm, Rope


@dataclass(frozen=True)
class VitShape:
    """A vision transformer without a class token."""

    depth: int = 27
    width: int = 1152
    mlp: int = 4304
    heads: int = 16
    patch_px: int = 14
    side_px: int = 224

    @property
    def tokens(self) -> int:
        """Tokens of a picture."""
        return (self.side_px // self.patch_px) ** 2


@dataclass(frozen=True)
class GemmaShape:
    """A Gemma transformer; query heads share one key."""

    depth: int = 18
    width: int = 2048
    mlp: int = 16_384
    heads: int = 8
    head: int = 256

    @property
    def qkv(self) -> tuple[int, int, int]:
        """Widths of query, key and value."""
        return self.heads * self.head, self.head, self.head


EXPERT: Final = GemmaShape(width=1024, mlp=4096)


@dataclass(frozen=True)
class Pi0Shape:
    """The whole of pi0; three views as the latency of the paper is stated for."""

    vision: VitShape = VitShape()
    prefix: GemmaShape = GemmaShape()
    expert: GemmaShape = EXPERT
    vocabulary: int = 257_152
    views: int = 3
    height_px: int = 480
    width_px: int = 640
    prompt: int = 48
    horizon: int = 50
    action: int = 32
    steps: int = 10


TINY: Final = Pi0Shape(
    vision=VitShape(depth=2, width=32, mlp=48, heads=4, side_px=28),
    prefix=GemmaShape(depth=3, width=48, mlp=64, heads=4, head=16),
    expert=GemmaShape(depth=3, width=32, mlp=48, heads=4, head=16),
    vocabulary=97,
    views=2,
    height_px=48,
    width_px=64,
    prompt=5,
    horizon=6,
    action=8,
)


class VitBlock(nn.Module):  # type: ignore[misc]
    """A block of SigLIP."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        width = shape.width
        self._shape = shape
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, shape.mlp), nn.Linear(shape.mlp, width)

    def forward(self, x: Tensor, *, plain: bool) -> Tensor:
        """Return (B, tokens, width)."""
        sizes = (self._shape.width,) * 3
        q, k, v = (
            layers.heads(part, self._shape.heads)
            for part in layers.project(self.qkv, self.norm1(x), sizes, plain=plain)
        )
        x = x + self.out(layers.attend(q, k, v, plain=plain))
        hidden: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return hidden


class Vit(nn.Module):  # type: ignore[misc]
    """SigLIP without its pooling head, projected to the language model's width."""

    def __init__(self, shape: VitShape, out: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, shape.width, shape.patch_px, stride=shape.patch_px)
        self.position = nn.Parameter(torch.zeros(shape.tokens, shape.width))
        self.blocks = nn.ModuleList(VitBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.head = nn.Linear(shape.width, out)

    def forward(self, pictures: Tensor, *, plain: bool) -> Tensor:
        """Return (views, tokens, out) of (views, 3, side, side)."""
        x = self.patch(pictures).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x, plain=plain)
        tokens: Tensor = self.head(self.norm(x))
        return tokens


class GemmaBlock(nn.Module):  # type: ignore[misc]
    """A block of Gemma, in the two halves that a cache needs."""

    def __init__(self, shape: GemmaShape) -> None:
        super().__init__()
        self._shape = shape
        self.norm1, self.norm2 = RmsNorm(shape.width), RmsNorm(shape.width)
        self.qkv = nn.Linear(shape.width, sum(shape.qkv), bias=False)
        self.out = nn.Linear(shape.heads * shape.head, shape.width, bias=False)
        self.gate_up = nn.Linear(shape.width, 2 * shape.mlp, bias=False)
        self.down = nn.Linear(shape.mlp, shape.width, bias=False)

    def project(self, x: Tensor, rope: Rope, *, plain: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of (B, L, width)."""
        q, k, v = layers.project(self.qkv, self.norm1(x), self._shape.qkv, plain=plain)
        query, key = layers.heads(q, self._shape.heads), layers.heads(k, 1)
        return layers.rotate_halves(query, rope), layers.rotate_halves(key, rope), layers.heads(v, 1)

    def finish(self, x: Tensor, mixed: Tensor, *, plain: bool) -> Tensor:
        """Return the block's output from its input and what attention gave."""
        x = x + self.out(mixed)
        gate, up = layers.project(self.gate_up, self.norm2(x), (self._shape.mlp,) * 2, plain=plain)
        hidden: Tensor = x + self.down(functional.gelu(gate, approximate="tanh") * up)
        return hidden


class Pi0(nn.Module):  # type: ignore[misc]
    """pi0 with random weights; `plain` as `bench.twins.layers` says."""

    def __init__(self, shape: Pi0Shape) -> None:
        super().__init__()
        width = shape.expert.width
        self.plain = False
        self.shape = shape
        self.vit = Vit(shape.vision, shape.prefix.width)
        self.embedding = nn.Embedding(shape.vocabulary, shape.prefix.width)
        self.prefix = nn.ModuleList(GemmaBlock(shape.prefix) for _ in range(shape.prefix.depth))
        self.prefix_norm = RmsNorm(shape.prefix.width)
        self.expert = nn.ModuleList(GemmaBlock(shape.expert) for _ in range(shape.expert.depth))
        self.expert_norm = RmsNorm(width)
        self.state_in, self.action_in = nn.Linear(shape.action, width), nn.Linear(shape.action, width)
        self.time_in, self.time_out = nn.Linear(2 * width, width), nn.Linear(width, width)
        self.action_out = nn.Linear(width, shape.action)

    @property
    def prefix_tokens(self) -> int:
        """Tokens of pictures and prompt."""
        return self.shape.views * self.shape.vision.tokens + self.shape.prompt

    def phases(self) -> tuple[str, ...]:
        """Return the names of the methods that a call is made of."""
        return "see", "prefill", "denoise"

    def example(self, seed: int) -> tuple[Tensor, ...]:
        """Return pictures uint8 (views, height, width, 3), prompt (L,), state (action,), noise (horizon, action)."""
        shape, generator = self.shape, torch.Generator().manual_seed(seed)
        size = (shape.views, shape.height_px, shape.width_px, 3)
        return (
            torch.randint(0, 256, size, generator=generator, dtype=torch.uint8),
            torch.randint(0, shape.vocabulary, (shape.prompt,), generator=generator),
            torch.randn(shape.action, generator=generator),
            torch.randn(shape.horizon, shape.action, generator=generator),
        )

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def prepare(self) -> None:
        """Compute rotary tables, each step's time embedding, and the one matrix before the expert."""
        weight, width = self.action_in.weight, self.shape.expert.width
        positions = torch.arange(self.prefix_tokens + 1 + self.shape.horizon, device=weight.device)
        cos, sin = layers.rope_table(positions, self.shape.prefix.head)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        times = 1.0 - torch.arange(self.shape.steps, device=weight.device) / self.shape.steps
        self.register_buffer("times", layers.sinusoid(times, width, 4e-3, 4.0).to(weight.dtype), persistent=False)
        of_action, of_time = self.time_in.weight.float().split(width, dim=1)
        bias = self.action_in.bias.float() @ of_action.T + self.time_in.bias.float()
        self.register_buffer("mixed_in", (of_action @ weight.float()).to(weight.dtype), persistent=False)
        self.register_buffer("step_bias", (self.times.float() @ of_time.T + bias).to(weight.dtype), persistent=False)

    def forward(self, pictures: Tensor, prompt: Tensor, state: Tensor, noise: Tensor) -> Tensor:
        """Return the chunk (horizon, action), float32."""
        cache = self.prefill(self.see(pictures), prompt, state)
        actions = noise.float()
        # The loop is Python's: unrolled in a graph, and no step waits for a condition on the device.
        for step in range(self.shape.steps):
            actions = actions - self.denoise(actions, state, self.at(step), cache) / self.shape.steps
        return actions

    def see(self, pictures: Tensor) -> Tensor:
        """Return the tokens (1, views * tokens, width) of uint8 pictures."""
        side = self.shape.vision.side_px
        staged = staging.fit(pictures, side, side).to(self.action_in.weight.dtype)
        return self.vit(staged, plain=self.plain).flatten(0, 1)[None]

    def prefill(self, seen: Tensor, prompt: Tensor, state: Tensor) -> list[KeysValues]:
        """Return each layer's keys and values of pictures and prompt and, served, of the state token."""
        words = self.embedding(prompt) * self.shape.prefix.width**0.5
        x = torch.cat((seen, words[None]), dim=1)
        rope = self._rope(0, self.prefix_tokens)
        cache: list[KeysValues] = []
        for i, block in enumerate(self.prefix):
            query, keys, values = block.project(x, rope, plain=self.plain)
            cache.append((keys, values))
            # Nothing reads the last block's output: the expert looks at keys and values only.
            if self.plain or i + 1 < len(self.prefix):
                x = block.finish(x, layers.attend(query, keys, values, plain=self.plain), plain=self.plain)
        return cache if self.plain else self._with_state(cache, state)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return what a step has of its own: the time's embedding (width,) and what it adds to an action's (width,)."""
        return self.times[step], self.step_bias[step]

    def denoise(self, actions: Tensor, state: Tensor, at: tuple[Tensor, Tensor], cache: list[KeysValues]) -> Tensor:
        """Return the velocity (horizon, action), float32, at a step."""
        shape, dtype = self.shape, self.action_in.weight.dtype
        time, bias = at
        if self.plain:
            time = time.expand(shape.horizon, -1)
            mixed = self.time_in(torch.cat((self.action_in(actions.to(dtype)), time), dim=-1))
            x = torch.cat((self.state_in(state.to(dtype))[None], self.time_out(functional.silu(mixed))))[None]
            mask = self._state_mask(actions)
        else:
            mixed = functional.linear(actions.to(dtype), self.mixed_in, bias)
            x, mask = self.time_out(functional.silu(mixed))[None], None
        rope = self._rope(self.prefix_tokens + (not self.plain), x.shape[1])
        for block, cached in zip(self.expert, cache, strict=True):
            query, keys, values = block.project(x, rope, plain=self.plain)
            keys, values = layers.extended(cached, keys, values)
            x = block.finish(x, layers.attend(query, keys, values, plain=self.plain, mask=mask), plain=self.plain)
        velocity: Tensor = self.action_out(self.expert_norm(x[0, -shape.horizon :])).float()
        return velocity

    def _with_state(self, cache: list[KeysValues], state: Tensor) -> list[KeysValues]:
        x = self.state_in(state.to(self.state_in.weight.dtype))[None, None]
        rope = self._rope(self.prefix_tokens, 1)
        whole: list[KeysValues] = []
        for i, (block, cached) in enumerate(zip(self.expert, cache, strict=True)):
            query, keys, values = block.project(x, rope, plain=False)
            whole.append(layers.extended(cached, keys, values))
            if i + 1 < len(self.expert):
                x = block.finish(x, layers.attend(query, *whole[-1], plain=False), plain=False)
        return whole

    def _state_mask(self, actions: Tensor) -> Tensor:
        """The state token looks at the prefix and itself, actions at everything."""
        length, total = 1 + self.shape.horizon, self.prefix_tokens + 1 + self.shape.horizon
        mask = torch.ones(length, total, dtype=torch.bool, device=actions.device)
        mask[0, self.prefix_tokens + 1 :] = False
        return mask

    def _rope(self, first: int, count: int) -> Rope:
        return self.cos[first : first + count], self.sin[first : first + count]
