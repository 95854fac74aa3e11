"""Other projects' policies by the scheme that names them in `--policy`: SCHEME://WHERE?setting=value&..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_origin
from urllib.parse import parse_qsl, urlsplit

import msgspec

from runtime.arms import ARM_MODELS
from runtime.errors import UsageError, unknown_name
from runtime.inference.adapters import lerobot_remote
from runtime.inference.adapters.base import Adapter
from runtime.inference.adapters.cosmos_policy import CosmosPolicy, CosmosPolicySettings
from runtime.inference.adapters.dreamzero import DreamZero, DreamZeroSettings
from runtime.inference.adapters.embodiment import Embodiment, EmbodimentMap, RigKinematics
from runtime.inference.adapters.fast_wam import FastWam, FastWamSettings
from runtime.inference.adapters.gigaworld import GigaWorld, GigaWorldSettings
from runtime.inference.adapters.gr00t import Gr00t, Gr00tSettings
from runtime.inference.adapters.lingbot_server import served_lingbot_va
from runtime.inference.adapters.lingbot_va import LingBotVaSettings
from runtime.inference.adapters.motus import Motus, MotusSettings
from runtime.inference.adapters.openpi import OpenPi, OpenPiSettings
from runtime.inference.adapters.starvla import StarVla, StarVlaSettings
from runtime.inference.adapters.vjepa2_ac import VJepa2Ac, VJepa2AcSettings
from runtime.inference.adapters.vla_jepa import VlaJepa, VlaJepaSettings
from runtime.inference.adapters.xpolicylab import XPolicyLab, XPolicyLabSettings
from runtime.yaml_file import convert, read_yaml

ARMS: Final = "arms"
"""The setting that every system which moves hands has: the arm model whose kinematics turn its poses into joints."""
EMBODIMENT: Final = "embodiment"
"""The setting that names a file with a declared embodiment."""
TRUST: Final = "trust"
"""The setting of a system whose replies are read only from a host that the user names."""


@dataclass(frozen=True)
class Kind:
    """How an adapter is made: from where it is, its settings, whose fields a user gives behind the `?`, and hands.

    `where` is a format of what comes between the scheme and the `?`. `hands`: it may move hands in place of joints.
    `embodies`: its numbers may be declared by a file. `trusts`: its address has the host to be trusted. `make` gets the
    hands, or what the file makes of them, last.
    """

    make: Callable[[str, Any, Any], Adapter]
    settings: type[msgspec.Struct]
    where: str = "ws://{}"
    hands: bool = False
    embodies: bool = False
    trusts: bool = False


@dataclass(frozen=True)
class Named:
    """An adapter that a URL names, nothing reached yet; `arms` is the model of arm that its hands are of, if any."""

    adapter: Adapter
    arms: str | None


def _planner(where: str, settings: Any, hands: RigKinematics | None) -> Adapter:
    if hands is None:
        raise UsageError(f"{settings.name} plans steps of a hand; say which arms it drives: {ARMS}=MODEL")
    return VJepa2Ac(where, settings, hands)


ADAPTERS: Final[dict[str, Kind]] = {
    "openpi": Kind(lambda where, settings, _: OpenPi(where, settings), OpenPiSettings),
    "lingbot-va": Kind(served_lingbot_va, LingBotVaSettings, hands=True),
    "dreamzero": Kind(DreamZero, DreamZeroSettings, hands=True, embodies=True),
    "starvla": Kind(StarVla, StarVlaSettings, hands=True),
    "vla-jepa": Kind(VlaJepa, VlaJepaSettings, hands=True),
    "xpolicylab": Kind(XPolicyLab, XPolicyLabSettings, hands=True),
    "cosmos-policy": Kind(lambda where, settings, _: CosmosPolicy(where, settings), CosmosPolicySettings, "http://{}"),
    "gigaworld": Kind(
        lambda where, settings, _: GigaWorld(where, settings), GigaWorldSettings, "gigaworld://{}", trusts=True
    ),
    "gr00t": Kind(Gr00t, Gr00tSettings, "gr00t://{}", hands=True, embodies=True),
    "fast-wam": Kind(lambda where, settings, _: FastWam(where, settings), FastWamSettings, "{}"),
    "motus": Kind(lambda where, settings, _: Motus(where, settings), MotusSettings, "{}"),
    "vjepa2-ac": Kind(_planner, VJepa2AcSettings, "{}", hands=True),
}
"""Every adapter by its scheme; the last three are checkouts on this host, run in the server's own process."""


def is_adapter(policy: str) -> bool:
    """Whether `--policy` names an adapter. UsageError for a system that is not spoken to."""
    scheme = policy.partition("://")[0]
    if scheme == lerobot_remote.SCHEME:
        lerobot_remote.refuse(policy)
    return scheme in ADAPTERS


def make_adapter(url: str) -> Named:
    """Return the adapter that a URL names; nothing is reached yet.

    A setting within a setting is written with a dot (`hand.arm=right`), several values with commas, also both
    (`parts.left_arm=0,6`).

    Raises:
        UsageError: the scheme or a setting is unknown, or a setting's value is not what it may be.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"{url}: is no address; write an IPv6 host in brackets, SCHEME://[::1]:PORT") from None
    kind = ADAPTERS.get(parts.scheme)
    if kind is None:
        raise unknown_name("scheme", parts.scheme, ADAPTERS)
    if parts.fragment:
        raise UsageError(f"{url}: what follows # belongs to no setting; write a # within one as %23")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(pairs)
    for name in given:
        if [key for key, _ in pairs].count(name) > 1:
            raise UsageError(f"{url}: setting {name!r} comes twice; leave one")
    arms = given.pop(ARMS, None) if kind.hands else None
    if arms is not None and arms not in ARM_MODELS:
        raise UsageError(f"{url}: setting {ARMS!r}: unknown arm model {arms!r}; valid: {', '.join(ARM_MODELS)}")
    where = kind.where.format(parts.netloc + parts.path)
    if kind.trusts and TRUST in given:
        where += f"?{TRUST}={given.pop(TRUST)}"
    hands = None if arms is None else RigKinematics(arms)
    if kind.embodies:
        file = given.pop(EMBODIMENT, None)
        body = None if file is None else _embodiment(Path(file), hands)
        return Named(kind.make(where, _settings(url, kind, given), body), arms)
    return Named(kind.make(where, _settings(url, kind, given), hands), arms)


def _embodiment(path: Path, hands: RigKinematics | None) -> EmbodimentMap:
    declared: Embodiment = convert(read_yaml(path), Embodiment, path)
    if declared.fault():
        raise UsageError(f"{path}: {declared.fault()}")
    if declared.needs_kinematics and hands is None:
        key = "space" if declared.own_arm is None else "own_arm"
        raise UsageError(
            f"{path}: key {key!r}: poses of a hand take kinematics; say which arms it drives: {ARMS}=MODEL"
        )
    return EmbodimentMap(declared, hands)


def _settings(url: str, kind: Kind, given: dict[str, str]) -> msgspec.Struct:
    fields = {field.name: field for field in msgspec.structs.fields(kind.settings)}
    values: dict[str, Any] = {}
    for key, text in given.items():
        name, _, inner = key.partition(".")
        if name not in fields:
            known = [*fields]
            known += [ARMS] if kind.hands else []
            known += [EMBODIMENT] if kind.embodies else []
            known += [TRUST] if kind.trusts else []
            raise UsageError(f"{url}: unknown setting {name!r}; known: {', '.join(known)}")
        if inner and name in given:
            raise UsageError(f"{url}: setting {name!r} comes whole and as {key!r}; leave one")
        if inner:
            values.setdefault(name, {})[inner] = _written(text, _inner(fields[name].type))
        else:
            values[name] = _written(text, fields[name].type)
    settings: msgspec.Struct = convert(values, kind.settings, url, strict=False)
    return settings


def _written(text: str, kind: Any) -> str | list[str]:
    return text.split(",") if get_origin(kind) is tuple else text


def _inner(kind: Any) -> Any:
    """Return the type of a setting's inner values where it is a map of them."""
    return get_args(kind)[1] if get_origin(kind) is dict else None
