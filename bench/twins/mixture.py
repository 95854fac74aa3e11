"""The twins of Fast-WAM and GigaWorld-Policy: Wan2.2's trunk reads one clean frame, a narrow expert denoises actions.

Shapes from FastWAM (configs/model/fastwam.yaml, src/fastwam/models/wan22/) and giga-world-policy
(configs/giga_world_policy_0_5_agilex_finetune.py, world_action_model/models/transformer_wa_casual_mot.py). The three
views are one picture. In each block actions look at the frame's keys and values, which are computed once a call. The
joints are a token of the text in Fast-WAM and the first token of the action stream in GigaWorld. The text's encoder is
left out: a task's text does not change from call to call.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.twins import layers, staging, vae, wan
from bench.twins.layers import KeysValues, Rope
from bench.twins.vae import VaeShape
from bench.twins.wan import At, DitShape

SHIFT: Final = 5.0
"""How the steps of the action flow are spread, in both."""
PATCH: Final = 2
STRIDE: Final = 16
"""Pixels of the picture for one of its latents."""


@dataclass(frozen=True)
class MixtureShape:
    """A trunk and an action expert. `joints_in_text`: where the joints go; `coded`: actions through small networks.

    Of such a network the map next to the numbers is there for each of `embodiments` kinds of robot.
    """

    trunk: DitShape
    expert: DitShape
    vae: VaeShape
    tiled_px: tuple[int, int]
    text: int
    horizon: int
    action: int
    joints_in_text: bool
    coded: tuple[int, ...] = ()
    embodiments: int = 1
    steps: int = 10
    height_px: int = 480
    width_px: int = 640

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the frame's tokens."""
        return self.tiled_px[0] // STRIDE // PATCH, self.tiled_px[1] // STRIDE // PATCH


FAST_WAM: Final = MixtureShape(
    wan.TRUNK, wan.ACTION_EXPERT, VaeShape(), (384, 320), text=128, horizon=32, action=14, joints_in_text=True
)
GIGAWORLD: Final = MixtureShape(
    wan.TRUNK,
    wan.ACTION_EXPERT,
    VaeShape(),
    (320, 384),
    text=64,
    horizon=48,
    action=16,
    joints_in_text=False,
    coded=(128, 256),
    embodiments=2,
)


def tiny(shape: MixtureShape) -> MixtureShape:
    """Return the same model with next to no width."""
    return MixtureShape(
        wan.TINY_TRUNK,
        wan.TINY_EXPERT,
        vae.TINY,
        (shape.tiled_px[0] // 128 * 32, shape.tiled_px[1] // 128 * 32),
        text=5,
        horizon=6,
        action=shape.action,
        joints_in_text=shape.joints_in_text,
        coded=shape.coded and (8, 12),
        embodiments=shape.embodiments,
        steps=shape.steps,
        height_px=48,
        width_px=64,
    )


class PerEmbodiment(nn.ModuleList):  # type: ignore[misc]
    """A linear map for each kind of robot that the weights are for; the first one's is run."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the first robot's map gives."""
        mapped: Tensor = self[0](x)
        return mapped


def coder(sizes: tuple[int, ...], embodiments: int, *, embodied: int) -> nn.Sequential:
    """Return linear maps of given sizes with an activation between each two; map `embodied` is one per embodiment."""
    pairs = list(pairwise(sizes))
    maps: list[nn.Module] = [nn.Linear(*pair) for pair in pairs]
    maps[embodied] = PerEmbodiment(nn.Linear(*pairs[embodied]) for _ in range(embodiments))
    made: list[nn.Module] = []
    for i, one in enumerate(maps):
        made += [nn.GELU(), one] if i else [one]
    return nn.Sequential(*made)


class Mixture(nn.Module):  # type: ignore[misc]
    """The trunk, the expert, the VAE's encoder; `plain` as `bench.twins.layers` says."""

    def __init__(self, shape: MixtureShape) -> None:
        super().__init__()
        width = shape.expert.width
        self.plain = False
        self.shape = shape
        self.vae = vae.Encoder(shape.vae)
        self.patch_in = nn.Linear(shape.vae.latent * PATCH**2, shape.trunk.width)
        self.trunk, self.expert = wan.Dit(shape.trunk), wan.Dit(shape.expert)
        # The trunk's head predicts frames; the released weights have it, an action-only call does not run it.
        self.video_head = wan.Head(shape.trunk.width, shape.vae.latent * PATCH**2)
        self.joints_in = (
            nn.Linear(shape.action, shape.trunk.text)
            if shape.joints_in_text
            else coder((shape.action, *shape.coded, width), shape.embodiments, embodied=0)
        )
        self.action_in = coder((shape.action, *shape.coded, width), shape.embodiments, embodied=0)
        self.action_out = coder((width, *reversed(shape.coded), shape.action), shape.embodiments, embodied=-1)
        self.action_head = None if shape.joints_in_text else wan.Head(width, width)
        if self.action_head is not None:
            # GigaWorld's decoder follows the modulated norm; the projection between the two is the decoder's own.
            self.action_head.out = nn.Identity()

    def phases(self) -> tuple[str, ...]:
        """Return the names of the methods that a call is made of."""
        return "see", "prefill", "denoise"

    def example(self, seed: int) -> tuple[Tensor, ...]:
        """Return pictures uint8 (3, height, width, 3), joints (action,), noise (horizon, action)."""
        shape, generator = self.shape, torch.Generator().manual_seed(seed)
        size = (3, shape.height_px, shape.width_px, 3)
        return (
            torch.randint(0, 256, size, generator=generator, dtype=torch.uint8),
            torch.randn(shape.action, generator=generator),
            torch.randn(shape.horizon, shape.action, generator=generator),
        )

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def prepare(self) -> None:
        """Compute rotary tables, every step's modulations, and the keys and values of a task's text."""
        shape, like = self.shape, self.patch_in.weight
        text = torch.randn(1, shape.text, shape.trunk.text, generator=torch.Generator().manual_seed(0))
        self._keep("text", text.to(like))
        times, self.lengths = layers.flow_times(shape.steps, SHIFT, like.device)
        self._keep("times", times)
        self._keep("still", torch.zeros(1, device=like.device))
        for name, table in (
            ("frame", layers.grid_table(1, *shape.grid, shape.trunk.head)),
            ("line", layers.rope_table(torch.arange(1 + shape.horizon), shape.expert.head)),
        ):
            for part, values in zip(("cos", "sin"), table, strict=True):
                self._keep(f"{name}_{part}", values.to(like.device))
        self.vae.prepare()
        for name, dit in (("trunk", self.trunk), ("expert", self.expert)):
            keys, values = dit.texts(self.text)
            self._keep(f"{name}_keys", keys)
            self._keep(f"{name}_values", values)
            self._keep(f"{name}_still", dit.table(self.still))
        self._keep("expert_mods", self.expert.table(times))
        self._keep("embedded_times", self.expert.embed.time(times)[0])

    def forward(self, pictures: Tensor, joints: Tensor, noise: Tensor) -> Tensor:
        """Return the chunk (horizon, action), float32."""
        cache, texts = self.prefill(self.see(pictures), joints)
        actions = noise.float()
        for step in range(self.shape.steps):
            actions = actions + self.denoise(actions, joints, self.at(step), cache, texts) * self.lengths[step]
        return actions

    def see(self, pictures: Tensor) -> Tensor:
        """Return the frame's tokens (1, L, trunk width)."""
        tiled = staging.tile(pictures, *self.shape.tiled_px).to(self.patch_in.weight.dtype)
        latents = self.vae(tiled, plain=self.plain)
        tokens: Tensor = self.patch_in(functional.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2))
        return tokens

    def prefill(self, frame: Tensor, joints: Tensor) -> tuple[list[KeysValues], list[KeysValues]]:
        """Return each block's keys and values of the clean frame, and of the expert's text."""
        shape, plain = self.shape, self.plain
        in_text = shape.joints_in_text
        trunk_texts, expert_texts = self._texts("trunk", joints), self._texts("expert", joints)
        trunk_mods, expert_mods = self._still_mods("trunk"), self._still_mods("expert")
        first = None if in_text else self.joints_in(joints.to(frame.dtype))[None, None]
        cache: list[KeysValues] = []
        for i, (block, narrow) in enumerate(zip(self.trunk.blocks, self.expert.blocks, strict=True)):
            query, keys, values = block.project(frame, trunk_mods[i], self._rope("frame"), plain=plain)
            if first is not None:
                q, k, v = narrow.project(first, expert_mods[i], self._rope("line", 0, 1), plain=plain)
                query, keys, values = (torch.cat(pair, dim=2) for pair in ((q, query), (k, keys), (v, values)))
            cache.append((keys, values))
            if not plain and i + 1 == shape.trunk.depth:
                break
            mixed = layers.attend(query, keys, values, plain=plain)
            if first is not None:
                first = narrow.finish(first, mixed[:, :1], expert_mods[i], expert_texts[i], plain=plain)
                mixed = mixed[:, 1:]
            frame = block.finish(frame, mixed, trunk_mods[i], trunk_texts[i], plain=plain)
        return cache, expert_texts

    def at(self, step: int) -> At:
        """Return what a step has of its own."""
        return self.times[step : step + 1], self.expert_mods[:, step], self.embedded_times[step]

    def denoise(
        self, actions: Tensor, joints: Tensor, at: At, cache: list[KeysValues], texts: list[KeysValues]
    ) -> Tensor:
        """Return the velocity (horizon, action), float32, at a step."""
        shape, plain = self.shape, self.plain
        texts = self._texts("expert", joints) if plain else texts
        x = self.action_in(actions.to(self.patch_in.weight.dtype))[None]
        rope = self._rope("line", 0 if shape.joints_in_text else 1, shape.horizon)
        times, expert_mods, embedded = at
        if plain:
            time, added = self.expert.embed.time(times)
            embedded = time[0]
        for i, block in enumerate(self.expert.blocks):
            mods = block.modulation + added[0] if plain else expert_mods[i]
            query, keys, values = block.project(x, mods, rope, plain=plain)
            mixed = layers.attend(query, *layers.extended(cache[i], keys, values), plain=plain)
            x = block.finish(x, mixed, mods, texts[i], plain=plain)
        if self.action_head is not None:
            x = self.action_head(x, embedded)
        velocity: Tensor = self.action_out(x[0]).float()
        return velocity

    def _texts(self, name: str, joints: Tensor) -> list[KeysValues]:
        """Return a stack's keys and values of the text and, where the joints are a token of it, of the joints."""
        dit: wan.Dit = getattr(self, name)
        in_text, blocks = self.shape.joints_in_text, dit.blocks
        token = self.joints_in(joints.to(self.text.dtype))[None, None] if in_text else None
        if self.plain:
            whole = dit.embed.text(self.text if token is None else torch.cat((self.text, token), dim=1))
            return [block.read(whole, plain=True) for block in blocks]
        fixed = list(zip(getattr(self, f"{name}_keys"), getattr(self, f"{name}_values"), strict=True))
        if token is None:
            return fixed
        embedded = dit.embed.text(token)
        return [
            layers.extended(cached, *block.read(embedded, plain=False))
            for cached, block in zip(fixed, blocks, strict=True)
        ]

    def _still_mods(self, name: str) -> list[Tensor]:
        """Return the modulation (6, width) of each block for what has no noise."""
        dit: wan.Dit = getattr(self, name)
        if self.plain:
            return [block.modulation + dit.embed.time(self.still)[1][0] for block in dit.blocks]
        return list(getattr(self, f"{name}_still")[:, 0])

    def _rope(self, name: str, first: int = 0, count: int | None = None) -> Rope:
        rows = slice(first, None if count is None else first + count)
        return getattr(self, f"{name}_cos")[rows], getattr(self, f"{name}_sin")[rows]

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)
