"""A policy of LeRobot with the processors that are stored with it, loaded in LeRobot's own environment."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.errors import LeadtimeError, UsageError
from runtime.layout import GRIPPER_INDEX, RIG_DOF

IMAGES: Final = "observation.images."
STATE: Final = "observation.state"
PICTURE: Final = "observation.image"
"""What the only camera of a policy may be called, and under which TDMPC keeps its picture."""
RATE_HZ: Final = 50
"""Rate of a policy's actions unless its host is told another."""
UNITS: Final[dict[str, NDArray[np.float64]]] = {
    "rad": np.ones(RIG_DOF),
    "deg": np.array([100.0 if i in GRIPPER_INDEX else np.degrees(1.0) for i in range(RIG_DOF)]),
}
"""From rad and gripper fractions to what the policy was trained on; LeRobot's own arms report degrees and per cent."""


@dataclass(frozen=True)
class Options:
    """What the command line says; `rename` is model's camera -> rig's camera, `execute_steps` 0 for a quarter chunk.

    `arms` is the arm model that the policy is for, empty where none was named.
    """

    policy: str
    device: str
    rate_hz: int
    execute_steps: int
    units: str
    rename: Mapping[str, str]
    arms: str = ""

    @property
    def name(self) -> str:
        """Return what the policy is called on the wire."""
        return self.policy.rstrip("/").rpartition("/")[2][-64:]


@dataclass(frozen=True)
class Loaded:
    """A policy, its configuration and its processors; `shapes` are height and width of its cameras' pictures.

    `keys` are LeRobot's names of the cameras, both by the policy's own.
    """

    torch: Any
    config: Any
    policy: Any
    before: Any
    after: Any
    keys: Mapping[str, str]
    shapes: Mapping[str, tuple[int, int]]

    def picture(self, image: NDArray[Any]) -> Any:
        """Return uint8 (h, w, 3) as LeRobot's policies have it: float (1, 3, h, w), 0 to 1."""
        return self.torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(self.torch.float32) / 255.0

    def cameras(self, options: Options) -> tuple[str, ...]:
        """Return what the cameras are called on the rig; UsageError where one is renamed that is not read."""
        unknown = [name for name in options.rename if name not in self.keys]
        if unknown:
            raise UsageError(f"--rename {unknown[0]}: no camera of this policy; it reads {', '.join(self.keys)}")
        return tuple(options.rename.get(name, name) for name in self.keys)


def load(options: Options) -> Loaded:
    """Load a policy.

    Raises:
        LeadtimeError: LeRobot is not installed or cannot load it.
        UsageError: it reads what no rig gives.
    """
    try:
        torch: Any = importlib.import_module("torch")
        configs: Any = importlib.import_module("lerobot.configs.policies")
        factory: Any = importlib.import_module("lerobot.policies.factory")
    except ImportError as error:
        raise LeadtimeError(f"run this where LeRobot is installed: {one_line(error)}") from None
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = found if options.device == "auto" else options.device
    try:
        config = configs.PreTrainedConfig.from_pretrained(options.policy)
        config.device = device
        policy = _noting(factory.get_policy_class(config.type)).from_pretrained(options.policy, config=config)
        policy.eval()
        before, after = factory.make_pre_post_processors(
            config,
            pretrained_path=options.policy,
            preprocessor_overrides={"device_processor": {"device": device}},
        )
    except Exception as error:  # whatever LeRobot raises
        raise LeadtimeError(f"LeRobot cannot load policy {options.policy}: {one_line(error)}") from error
    if not policy.has_weights:
        raise LeadtimeError(f"LeRobot cannot load the weights of policy {options.policy}; it would act at random")
    other = [key for key in config.input_features if key not in {STATE, PICTURE} and not key.startswith(IMAGES)]
    if other or not config.image_features:
        raise UsageError(f"{options.policy} reads {other[0] if other else 'no picture'}, which no rig gives")
    keys = {key.removeprefix(IMAGES).removeprefix("observation."): key for key in config.image_features}
    shapes = {name: tuple(config.image_features[key].shape[-2:]) for name, key in keys.items()}
    return Loaded(torch, config, policy, before, after, keys, shapes)


def check_joints(options: Options, what: str, feature: Any) -> None:
    """Refuse a feature that is not the 14 joints of a rig; raises UsageError."""
    shape = tuple(feature.shape) if feature else ()
    if shape != (RIG_DOF,):
        raise UsageError(
            f"{options.policy}: its {what} is {shape}; this rig needs ({RIG_DOF},), two arms of 6 joints and a gripper"
        )


def executed_of(horizon: int, told: int = 0) -> int:
    """Return how many steps of a chunk pass until the next one: as many as were told, 0 for a quarter."""
    return min(told or max(horizon // 4, 1), horizon)


def one_line(error: BaseException) -> str:
    """Return what an error says, in a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _noting(policy_class: Any) -> Any:
    """Return a class of policy whose `has_weights` tells whether any were loaded.

    Some classes say that theirs do not fit, and go on with random ones (pi0 and pi0.5, LeRobot 0.6.1).
    """

    class Noting(policy_class):  # type: ignore[misc]
        has_weights = False

        def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
            loaded = super().load_state_dict(*arguments, **options)
            self.has_weights = True
            return loaded

    return Noting
