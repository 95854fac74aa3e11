"""V-JEPA 2-AC in this process: a latent world model, and steps of one hand planned in it towards a picture of the goal.

Checked against facebookresearch/vjepa2 hubconf.py (`vjepa2_ac_vit_giant` -> encoder, predictor) and notebooks/utils:
a picture is a clip of two equal frames (1, 3, 2, 256, 256); its tokens are layer-normalised; the predictor takes
tokens, actions (n, t, 7) and poses (n, t, 7) and returns tokens, the last frame's of which are the next. An action is a
displacement in m, no rotation, and the gripper, 0 open to 1 closed; a pose is x, y, z, Euler angles, gripper, all in
the frame of the arm's base. The planner is ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from runtime.errors import UsageError
from runtime.inference.adapters import answers
from runtime.inference.adapters.base import AdapterError, Card, Question, RateHz, Reply
from runtime.inference.adapters.cem import Cem
from runtime.inference.adapters.embodiment import Embodiment, EmbodimentMap, RigKinematics
from runtime.inference.adapters.pictures import stretched
from runtime.kinematics.rotations import matrix_rpy
from runtime.layout import GRIPPER_INDEX, SIDES, Side

SIZE_PX: Final = 256
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""ImageNet's, with which the released transform normalises."""
MOVE_MAX_M: Final = 0.05
GRIPPER_MAX: Final = 0.75


class VJepa2AcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What it is to reach, a picture file, by which arm, seen by which camera, and how it searches."""

    goal: str
    arm: Side = "right"
    camera: str = "cam_high"
    device: str = "cuda"
    name: str = "vjepa2-ac"
    rate_hz: RateHz = 4
    rollout: Annotated[int, Meta(ge=1, le=16)] = 2
    iterations: Annotated[int, Meta(ge=1, le=100)] = 10
    samples: Annotated[int, Meta(ge=10, le=10_000)] = 400
    top: Annotated[int, Meta(ge=2, le=1000)] = 10

    def card(self) -> Card:
        """Return the card of a planner that is set so."""
        return Card(
            name=self.name,
            kind="world model, latent planning",
            horizon=self.rollout,
            execute_steps=1,
            rate_hz=self.rate_hz,
            cameras=(self.camera,),
        )


class VJepa2Ac:
    """The planner of one rig."""

    def __init__(self, checkout: str, settings: VJepa2AcSettings, kinematics: RigKinematics) -> None:
        """Note where it is. UsageError for a folder that is no checkout, or a goal that is no picture."""
        self._settings, self._kinematics = settings, kinematics
        self._file = Path(checkout).expanduser() / "hubconf.py"
        if not self._file.is_file():
            raise UsageError(f"{checkout!r} is no checkout of {settings.name}: it has no hubconf.py")
        self._goal = _picture(settings.goal)
        # Nothing is refused that the planner may ask for in one step: 5 cm of the hand can be much of a joint.
        self._map = EmbodimentMap(
            Embodiment(
                arms=(settings.arm,),
                space="hand",
                steps=True,
                frame="arm_base",
                gripper="closed_1",
                gripper_steps=True,
                jump_max_rad=1.2,
            ),
            kinematics,
        )
        self._torch: Any = None
        self._encoder: Any = None
        self._predictor: Any = None
        self._goal_tokens: Any = None

    def open(self, timeout_s: float) -> Card:  # noqa: ARG002 - loading cannot be stopped
        """Load it, and look at the goal; AdapterError if torch is not installed or that fails."""
        if self._encoder is None:
            self._load()
        return self._settings.card()

    def reset(self, prompt: str) -> None:  # noqa: ARG002 - its goal is a picture
        """Begin an episode; nothing is remembered of one."""
        self._map.begin()

    def infer(self, question: Question) -> Reply:
        """Plan towards the goal from what is seen; see Adapter."""
        if self._encoder is None:
            raise self._error("was not opened")
        settings, until_s = self._settings, time.monotonic() + question.timeout_s
        start = np.asarray(question.view.position, dtype=np.float64)
        limits = np.array((*[MOVE_MAX_M] * 3, 0.0, 0.0, 0.0, GRIPPER_MAX))
        search = Cem(settings.rollout, settings.iterations, settings.samples, settings.top)
        try:
            with self._torch.no_grad():
                seen = self._tokens(question.view.images[settings.camera])
                plan = search.plan(
                    lambda drawn: self._far(drawn, seen, self._pose(start), until_s), limits, question.seed
                )
        except AdapterError:
            raise
        except Exception as error:
            raise self._error(f"failed ({type(error).__name__})") from error
        return Reply(answers.as_targets(self._map.rows(plan, start)))

    def close(self) -> None:
        """Let go of the model, and with it of its memory."""
        self._encoder = self._predictor = self._goal_tokens = None

    def _load(self) -> None:
        if importlib.util.find_spec("torch") is None:
            raise self._error("needs what is not installed here: torch")
        self._torch = importlib.import_module("torch")
        try:
            encoder, predictor = self._torch.hub.load(str(self._file.parent), "vjepa2_ac_vit_giant", source="local")
            self._encoder = encoder.to(self._settings.device).eval()
            self._predictor = predictor.to(self._settings.device).eval()
            with self._torch.no_grad():
                self._goal_tokens = self._tokens(self._goal)
        except ImportError as error:
            raise self._error(f"needs what is not installed here: {error.name or 'a module'}") from None
        except Exception as error:
            self.close()
            raise self._error(f"could not be loaded ({type(error).__name__})") from error

    def _tokens(self, image: NDArray[Any]) -> Any:
        """Return the tokens (1, n, width) of a picture."""
        picture = stretched(image, SIZE_PX, SIZE_PX).astype(np.float32) / 255.0
        clip = ((picture - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1)
        told = self._torch.from_numpy(np.repeat(clip[None, :, None], 2, axis=2)).to(self._settings.device)
        return self._normal(self._encoder(told))

    def _far(self, drawn: NDArray[np.float64], seen: Any, pose: NDArray[np.float64], until_s: float) -> Any:
        """Return how far from the goal's tokens the model ends, (samples,), by the mean absolute difference."""
        if time.monotonic() > until_s:
            raise self._error("did not answer in time")
        torch, device = self._torch, self._settings.device
        samples, count = len(drawn), seen.shape[1]
        actions = torch.from_numpy(drawn.astype(np.float32)).to(device)
        # No rotation is planned, so a pose after steps is the sum of them.
        moved = np.concatenate((np.zeros((samples, 1, 7)), np.cumsum(drawn, axis=1)), axis=1)
        poses = torch.from_numpy((pose + moved).astype(np.float32)).to(device)
        tokens = seen.repeat(samples, 1, 1)
        for step in range(1, drawn.shape[1] + 1):
            ahead = self._predictor(tokens, actions[:, :step], poses[:, :step])[:, -count:]
            tokens = torch.cat((tokens, self._normal(ahead)), dim=1)
        return (tokens[:, -count:] - self._goal_tokens).abs().mean(dim=(1, 2)).double().cpu().numpy()

    def _normal(self, tokens: Any) -> Any:
        return self._torch.nn.functional.layer_norm(tokens, (tokens.shape[-1],))

    def _pose(self, start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the hand in the frame of the arm's base: x, y, z, Euler angles about x, y, z, and how closed it is."""
        side = self._settings.arm
        hand = self._kinematics.forward(start)[side].seen_from(self._kinematics.base[side])
        return np.array((*hand.position, *matrix_rpy(hand.rotation), 1.0 - start[GRIPPER_INDEX[SIDES.index(side)]]))

    def _error(self, what: str) -> AdapterError:
        return AdapterError(f"{self._settings.name} {what}")


def _picture(path: str) -> NDArray[np.uint8]:
    try:
        with Image.open(Path(path).expanduser()) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError):
        raise UsageError(f"{path!r} is no picture of the goal; name a PNG or JPEG file") from None
