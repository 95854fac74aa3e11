"""The encoder of Wan2.2's VAE (16x16x4, 48 channels) for one picture, which is all that an action-only policy encodes.

Shapes from Wan2.2 (wan/modules/vae2_2.py). Its convolutions are causal in time, with nothing before the first frame:
of each kernel's three taps only the last one meets a frame. `plain` makes the convolution over time all the same;
served it is one in the plane, a third of the work. In the downsampling over time a first frame takes no part: its
weights are there, as in the release, and are not run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class VaeShape:
    """Channels of the stages, residual blocks of each, which of them halve time as well, and latent channels."""

    channels: tuple[int, ...] = (160, 160, 320, 640, 640)
    blocks: int = 2
    halves_time: tuple[bool, ...] = (False, True, True, False)
    latent: int = 48


TINY: VaeShape = VaeShape(channels=(8, 8, 16, 32, 32), latent=6)


class CausalConv(nn.Module):  # type: ignore[misc]
    """A convolution over time, rows and columns, causal in time, applied to a first frame (B, C, H, W)."""

    def __init__(self, inner: int, outer: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outer, inner, size, size, size))
        self.bias = nn.Parameter(torch.zeros(outer))
        self._pad = size // 2
        self._before = size - 1

    def prepare(self) -> None:
        """Take out the tap that meets the frame, laid out as the device's convolutions like it."""
        tap = self.weight.detach()[:, :, -1].contiguous(memory_format=torch.channels_last)
        self.register_buffer("tap", tap, persistent=False)

    def forward(self, x: Tensor, *, plain: bool) -> Tensor:
        """Return (B, outer, H, W)."""
        if not plain:
            return functional.conv2d(x, self.tap, self.bias, padding=self._pad)
        pad = (self._pad,) * 4
        frames = functional.pad(x[:, :, None], (*pad, self._before, 0))
        return functional.conv3d(frames, self.weight, self.bias)[:, :, 0]


class ChannelNorm(nn.Module):  # type: ignore[misc]
    """Root mean square norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed (B, C, H, W)."""
        scaled: Tensor = functional.normalize(x.float(), dim=1).to(x.dtype) * (len(self.gain) ** 0.5) * self.gain
        return scaled


class Residual(nn.Module):  # type: ignore[misc]
    """Two convolutions around which the input goes."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = ChannelNorm(inner), CausalConv(inner, outer, 3)
        self.norm2, self.conv2 = ChannelNorm(outer), CausalConv(outer, outer, 3)
        self.around = CausalConv(inner, outer, 1) if inner != outer else None

    def forward(self, x: Tensor, *, plain: bool) -> Tensor:
        """Return (B, outer, H, W)."""
        hidden = self.conv1(functional.silu(self.norm1(x)), plain=plain)
        hidden = self.conv2(functional.silu(self.norm2(hidden)), plain=plain)
        kept = x if self.around is None else self.around(x, plain=plain)
        whole: Tensor = hidden + kept
        return whole


class Down(nn.Module):  # type: ignore[misc]
    """A stage: residual blocks, then half the size, and beside them the input averaged to the same shape."""

    def __init__(self, inner: int, outer: int, blocks: int, *, halves: bool, halves_time: bool) -> None:
        super().__init__()
        self._outer, self._space, self._time = outer, 2 if halves else 1, 2 if halves_time else 1
        self.blocks = nn.ModuleList(Residual(inner if i == 0 else outer, outer) for i in range(blocks))
        self.halve = nn.Conv2d(outer, outer, 3, stride=2) if halves else None
        self.halve_time = nn.Conv3d(outer, outer, (3, 1, 1), stride=(2, 1, 1)) if halves_time else None

    def forward(self, x: Tensor, *, plain: bool) -> Tensor:
        """Return (B, outer, H or H / 2, W or W / 2)."""
        hidden = x
        for block in self.blocks:
            hidden = block(hidden, plain=plain)
        if self.halve is not None:
            hidden = self.halve(functional.pad(hidden, (0, 1, 0, 1)))
        whole: Tensor = hidden + self._average(x)
        return whole

    def _average(self, x: Tensor) -> Tensor:
        parts = functional.pixel_unshuffle(x, self._space).unflatten(1, (x.shape[1], 1, self._space**2))
        if self._time == 2:
            parts = torch.cat((torch.zeros_like(parts), parts), dim=2)
        return parts.flatten(1, 3).unflatten(1, (self._outer, -1)).mean(dim=2)


class PlaneAttention(nn.Module):  # type: ignore[misc]
    """Attention of one head over a picture's places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        hidden: Tensor = x + self.out(mixed.transpose(1, 2).unflatten(2, x.shape[2:]))
        return hidden


class Encoder(nn.Module):  # type: ignore[misc]
    """Pictures (B, 3, H, W) in -1..1 to the means of their latents (B, latent, H / 16, W / 16)."""

    def __init__(self, shape: VaeShape) -> None:
        super().__init__()
        first, *rest = shape.channels
        last = shape.channels[-1]
        self.conv_in = CausalConv(12, first, 3)
        self.stages = nn.ModuleList(
            Down(inner, outer, shape.blocks, halves=i + 1 < len(rest), halves_time=shape.halves_time[i])
            for i, (inner, outer) in enumerate(zip(shape.channels, rest, strict=False))
        )
        self.before, self.attention, self.after = Residual(last, last), PlaneAttention(last), Residual(last, last)
        self.norm = ChannelNorm(last)
        self.conv_out = CausalConv(last, 2 * shape.latent, 3)
        self.moments = CausalConv(2 * shape.latent, 2 * shape.latent, 1)

    def prepare(self) -> None:
        """Prepare every convolution."""
        for module in self.modules():
            if isinstance(module, CausalConv):
                module.prepare()

    def forward(self, pictures: Tensor, *, plain: bool) -> Tensor:
        """Return the means of the latents."""
        x = functional.pixel_unshuffle(pictures, 2)
        if not plain:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.conv_in(x, plain=plain)
        for stage in self.stages:
            x = stage(x, plain=plain)
        x = self.after(self.attention(self.before(x, plain=plain)), plain=plain)
        x = self.conv_out(functional.silu(self.norm(x)), plain=plain)
        means: Tensor = self.moments(x, plain=plain).chunk(2, dim=1)[0]
        return means
