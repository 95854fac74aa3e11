"""The twin of LingBot-VA: Wan2.2's trunk, once over what was observed and done, then over frames, then over actions.

Shapes from lingbot-va (wan_va/modules/model.py, wan_va/configs/va_robotwin_cfg.py): head camera at 256x320 above the
two wrists at half of it, so 24x20 latents of 48 channels and 120 tokens a frame; chunks of two frames of 16 actions in
30 channels; 3 steps on frames with classifier-free guidance, 10 on actions without. The stateful session's keys and
values, of as many earlier chunks as `history` says, are given. The VAE and the text's encoder are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.twins import layers, wan
from bench.twins.layers import KeysValues, Rope
from bench.twins.wan import At, DitShape

PATCH: Final = 2
GUIDANCE: Final = 5.0
VIDEO_SHIFT: Final = 5.0
ACTION_SHIFT: Final = 1.0


@dataclass(frozen=True)
class LingBotShape:
    """The trunk, a chunk, and how many earlier chunks the session remembers."""

    trunk: DitShape = wan.TRUNK
    latent: int = 48
    grid: tuple[int, int] = (12, 10)
    frames: int = 2
    per_frame: int = 16
    action: int = 30
    text: int = 512
    history: int = 8
    video_steps: int = 3
    action_steps: int = 10

    @property
    def video_tokens(self) -> int:
        """Tokens of a chunk's frames."""
        return self.frames * self.grid[0] * self.grid[1]

    @property
    def action_tokens(self) -> int:
        """Tokens of a chunk's actions."""
        return self.frames * self.per_frame


TINY: Final = LingBotShape(
    trunk=replace(wan.TINY_TRUNK, text=20), latent=6, grid=(3, 2), per_frame=3, text=5, history=2
)


class LingBot(nn.Module):  # type: ignore[misc]
    """LingBot-VA with random weights; `plain` as `bench.twins.layers` says."""

    def __init__(self, shape: LingBotShape) -> None:
        super().__init__()
        width = shape.trunk.width
        self.plain = False
        self.shape = shape
        self.trunk = wan.Dit(shape.trunk)
        self.action_embed = wan.Embedder(shape.trunk)
        self.patch_in = nn.Linear(shape.latent * PATCH**2, width)
        self.video_head = wan.Head(width, shape.latent * PATCH**2)
        self.action_in, self.action_out = nn.Linear(shape.action, width), nn.Linear(width, shape.action)

    def phases(self) -> tuple[str, ...]:
        """Return the names of the methods that a call is made of."""
        return "ground", "imagine", "act"

    def example(self, seed: int) -> tuple[Tensor, ...]:
        """Return observed latents and noise (frames, L, latent * 4), executed actions and noise (tokens, action)."""
        shape, generator = self.shape, torch.Generator().manual_seed(seed)
        video = (shape.video_tokens, shape.latent * PATCH**2)
        actions = (shape.action_tokens, shape.action)
        return tuple(torch.randn(size, generator=generator) for size in (video, actions, video, actions))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def prepare(self) -> None:
        """Compute rotary tables, every step's modulations, the texts' keys and values; make the session's up."""
        shape, like, generator = self.shape, self.patch_in.weight, torch.Generator().manual_seed(0)
        trunk = shape.trunk
        # Two texts: the task's and the empty one that guidance steers away from.
        self._keep("text", torch.randn(2, shape.text, trunk.text, generator=generator).to(like))
        remembered = shape.history * (shape.video_tokens + shape.action_tokens)
        size = (2, trunk.depth, 1, trunk.heads, remembered, trunk.head)
        self._keep("history", torch.randn(size, dtype=like.dtype, device=like.device))
        video_times, self.video_lengths = layers.flow_times(shape.video_steps, VIDEO_SHIFT, like.device)
        action_times, self.action_lengths = layers.flow_times(shape.action_steps, ACTION_SHIFT, like.device)
        for name, embed, times in (
            ("video", self.trunk.embed, video_times),
            ("action", self.action_embed, action_times),
            ("seen", self.trunk.embed, torch.zeros(1, device=like.device)),
            ("done", self.action_embed, torch.zeros(1, device=like.device)),
        ):
            embedded, added = embed.time(times)
            self._keep(f"{name}_times", times)
            self._keep(f"{name}_embedded", embedded)
            self._keep(f"{name}_mods", torch.stack([block.modulation + added for block in self.trunk.blocks]))
        keys, values = self.trunk.texts(self.text)
        self._keep("text_keys", keys)
        self._keep("text_values", values)
        first = 2 * shape.history
        for name, frame in (("seen", first), ("next", first + shape.frames)):
            video = layers.grid_table(shape.frames, *shape.grid, trunk.head, first_frame=frame)
            lines = layers.grid_table(shape.frames, shape.per_frame, 1, trunk.head, first_frame=frame)
            for part, of_video, of_actions in zip(("cos", "sin"), video, lines, strict=True):
                self._keep(f"{name}_video_{part}", of_video.to(like.device))
                self._keep(f"{name}_action_{part}", of_actions.to(like.device))

    def forward(self, seen: Tensor, done: Tensor, video_noise: Tensor, action_noise: Tensor) -> Tensor:
        """Return the chunk (frames * actions of a frame, action), float32."""
        shape = self.shape
        cache = self.ground(seen, done)
        frames = video_noise.float()
        for step in range(shape.video_steps):
            velocity, imagined = self.imagine(frames, self.at("video", step), cache)
            frames = frames + velocity * self.video_lengths[step]
        # As in the release, the session keeps what the last step on frames computed.
        cache = [layers.extended(old, *new) for old, new in zip(cache, imagined, strict=True)]
        actions = action_noise.float()
        for step in range(shape.action_steps):
            actions = actions + self.act(actions, self.at("action", step), cache) * self.action_lengths[step]
        return actions

    def at(self, name: str, step: int) -> At:
        """Return what a step has of its own: of `video`, `action`, or what is over, `seen` and `done`."""
        times, mods, embedded = (getattr(self, f"{name}_{part}") for part in ("times", "mods", "embedded"))
        return times[step : step + 1], mods[:, step], embedded[step]

    def ground(self, seen: Tensor, done: Tensor) -> list[KeysValues]:
        """Return each block's keys and values of the session, with what was observed and done in the last chunk."""
        dtype = self.patch_in.weight.dtype
        video, actions = self.patch_in(seen.to(dtype))[None], self.action_in(done.to(dtype))[None]
        seen_mods = self._mods(self.at("seen", 0), self.trunk.embed)
        done_mods = self._mods(self.at("done", 0), self.action_embed)
        rope = tuple(
            torch.cat((getattr(self, f"seen_video_{part}"), getattr(self, f"seen_action_{part}")))
            for part in ("cos", "sin")
        )
        x = torch.cat((video, actions), dim=1)
        mods = [
            torch.cat(
                (of_seen[:, None].expand(-1, video.shape[1], -1), of_done[:, None].expand(-1, actions.shape[1], -1)),
                dim=1,
            )
            for of_seen, of_done in zip(seen_mods, done_mods, strict=True)
        ]
        cache = list(zip(self.history[0], self.history[1], strict=True))
        _, made = self._pass(x, mods, (rope[0], rope[1]), cache, self._texts(1), last=False)
        return [layers.extended(old, *new) for old, new in zip(cache, made, strict=True)]

    def imagine(self, frames: Tensor, at: At, cache: list[KeysValues]) -> tuple[Tensor, list[KeysValues]]:
        """Return the velocity of the frames at a step and each block's keys and values of them."""
        x = self.patch_in(frames.to(self.patch_in.weight.dtype)).expand(2, -1, -1)
        rope = self.next_video_cos, self.next_video_sin
        pair = [(keys.expand(2, -1, -1, -1), values.expand(2, -1, -1, -1)) for keys, values in cache]
        mods = self._mods(at, self.trunk.embed)
        x, made = self._pass(x, mods, rope, pair, self._texts(2), last=True)
        steered, free = self.video_head(x, at[2]).float()
        return free + GUIDANCE * (steered - free), [(keys[:1], values[:1]) for keys, values in made]

    def act(self, actions: Tensor, at: At, cache: list[KeysValues]) -> Tensor:
        """Return the velocity of the actions at a step, float32."""
        x = self.action_in(actions.to(self.patch_in.weight.dtype))[None]
        rope = self.next_action_cos, self.next_action_sin
        mods = self._mods(at, self.action_embed)
        x, _ = self._pass(x, mods, rope, cache, self._texts(1), last=True)
        shift, scale = self.video_head.modulation + at[2]
        velocity: Tensor = self.action_out(self.video_head.norm(x) * (1.0 + scale) + shift)[0].float()
        return velocity

    def _pass(
        self,
        x: Tensor,
        mods: list[Tensor],
        rope: Rope,
        cache: list[KeysValues],
        texts: list[KeysValues],
        *,
        last: bool,
    ) -> tuple[Tensor, list[KeysValues]]:
        """Run the trunk; `last` says whether anything reads what comes out of its last block."""
        made: list[KeysValues] = []
        for i, block in enumerate(self.trunk.blocks):
            query, keys, values = block.project(x, mods[i], rope, plain=self.plain)
            made.append((keys, values))
            if not (self.plain or last) and i + 1 == self.shape.trunk.depth:
                break
            mixed = layers.attend(query, *layers.extended(cache[i], keys, values), plain=self.plain)
            x = block.finish(x, mixed, mods[i], texts[i], plain=self.plain)
        return x, made

    def _texts(self, count: int) -> list[KeysValues]:
        if self.plain:
            embedded = self.trunk.embed.text(self.text[:count])
            return [block.read(embedded, plain=True) for block in self.trunk.blocks]
        return list(zip(self.text_keys[:, :count], self.text_values[:, :count], strict=True))

    def _mods(self, at: At, embed: wan.Embedder) -> list[Tensor]:
        times, mods, _ = at
        if self.plain:
            return [block.modulation + embed.time(times)[1][0] for block in self.trunk.blocks]
        return list(mods)

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)


def patches(latents: Tensor) -> Tensor:
    """Return latents (frames, C, H, W) as the tokens (frames * L, C * 4) that the twin takes."""
    tokens: Tensor = functional.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2).flatten(0, 1)
    return tokens
