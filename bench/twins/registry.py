"""The twins by name, full and with next to no width, and the published sizes that their shapes are checked against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from bench.twins import cosmos, lingbot, mixture, pi0
from bench.twins.layers import Twin
from runtime.errors import unknown_name


@dataclass(frozen=True)
class Published:
    """How many parameters parts of a twin have in the release, all of it where no part is named."""

    parts: tuple[str, ...]
    parameters: int
    source: str


@dataclass(frozen=True)
class Entry:
    """A twin: how it is made, what it leaves out, what was published of its size and of its latency."""

    full: Callable[[], Any]
    tiny: Callable[[], Any]
    left_out: str
    published: tuple[Published, ...]
    latency: str

    def make(self, *, full: bool) -> Any:
        """Return the twin, on whatever device is the default one."""
        made: nn.Module = self.full() if full else self.tiny()
        return made.eval().requires_grad_(False)


_TRUNK: Final = Published(
    ("trunk", "patch_in", "video_head"), 4_999_787_712, "Wan2.2-TI2V-5B, parameters of the released transformer"
)
_ENCODER: Final = Published(
    ("vae",), 149_637_088, "Wan2.2 at 42bf4cf, wan/modules/vae2_2.py: the encoder and the first of the two 1x1 maps"
)
TWINS: Final[dict[str, Entry]] = {
    "pi0": Entry(
        full=lambda: pi0.Pi0(pi0.Pi0Shape()),
        tiny=lambda: pi0.Pi0(pi0.TINY),
        left_out="the tokenizer",
        published=(
            Published(("expert", "expert_norm"), 311_464_960, "openpi, models/gemma.py: gemma_300m"),
            Published(("prefix", "prefix_norm"), 1_981_884_416, "Gemma report, table 2: 2B without embedding"),
            Published(("vit", "prefix", "prefix_norm", "embedding"), 2_923_335_408, "PaliGemma 3B at 224 px"),
            Published(
                ("state_in", "action_in", "time_in", "time_out", "action_out"),
                3_248_160,
                "openpi, models/pi0.py: the projections of state, action and time",
            ),
        ),
        latency="73 ms, RTX 4090, 3 views",
    ),
    "fast-wam": Entry(
        full=lambda: mixture.Mixture(mixture.FAST_WAM),
        tiny=lambda: mixture.Mixture(mixture.tiny(mixture.FAST_WAM)),
        left_out="the text encoder",
        published=(
            _TRUNK,
            _ENCODER,
            Published(
                ("expert", "action_in", "action_out"), 1_020_900_366, "FastWAM at 45d8e14: ActionDiT of fastwam.yaml"
            ),
            Published(("joints_in",), 61_440, "FastWAM at 45d8e14, fastwam.py: proprio_encoder of 14 joints"),
        ),
        latency="190 ms, RTX 5090D, preprocessing excluded",
    ),
    "gigaworld": Entry(
        full=lambda: mixture.Mixture(mixture.GIGAWORLD),
        tiny=lambda: mixture.Mixture(mixture.tiny(mixture.GIGAWORLD)),
        left_out="the text encoder",
        published=(
            _TRUNK,
            _ENCODER,
            Published(
                ("trunk", "patch_in", "video_head", "expert", "action_head", "joints_in", "action_in", "action_out"),
                6_021_560_928,
                "giga-world-policy at f3d5a88: the transformer of giga_world_policy_0_5_agilex_finetune.py",
            ),
        ),
        latency="85 ms, RTX 4090, of version 0.5, whose shapes these are; 360 ms, A100, of the version before",
    ),
    "lingbot-va": Entry(
        full=lambda: lingbot.LingBot(lingbot.LingBotShape()),
        tiny=lambda: lingbot.LingBot(lingbot.TINY),
        left_out="the VAE and the text encoder",
        published=(
            _TRUNK,
            Published((), 5_088_872_670, "lingbot-va at 6f092cb, wan_va/modules/model.py: the released transformer"),
        ),
        latency="480 ms, its real-world setting",
    ),
    "cosmos-policy": Entry(
        full=lambda: cosmos.Cosmos(cosmos.CosmosShape()),
        tiny=lambda: cosmos.Cosmos(cosmos.TINY),
        left_out="the VAE and the text encoder",
        published=(
            Published(
                (),
                1_956_413_440,
                "cosmos-predict2 at 661da47, config_video2world.py: the 2B network, unchanged in Cosmos-Policy",
            ),
        ),
        latency="390 ms",
    ),
}


def entry(name: str) -> Entry:
    """Return a twin's entry.

    Raises:
        UsageError: there is none of that name; the message lists the names.
    """
    if name not in TWINS:
        raise unknown_name("twin", name, TWINS)
    return TWINS[name]


def size_of(twin: Twin, parts: tuple[str, ...]) -> int:
    """Return how many parameters parts of a twin have; all of it where no part is named."""
    named = [getattr(twin, part) for part in parts] or [twin]
    return sum(weight.numel() for module in named for weight in module.parameters())
