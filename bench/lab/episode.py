"""One episode in the lab: what happened, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.layout import GRIPPER_INDEX, RIG_DOF
from runtime.records import VIEW_PAST_TICKS
from runtime.states import Mode

JOINT_INDEX: Final = tuple(i for i in range(RIG_DOF) if i not in GRIPPER_INDEX)


@dataclass(frozen=True)
class Inference:
    """What the requests of an episode came to.

    `delays_ticks` are policy ticks from observation to first effect of the answers used; `forecasts` met an answer,
    `covered` of them were not exceeded, by `overprovision_ticks` in sum.
    """

    requests: int = 0
    delays_ticks: tuple[int, ...] = ()
    forecasts: int = 0
    covered: int = 0
    overprovision_ticks: int = 0


@dataclass(frozen=True)
class Episode:
    """What an episode came to. Ticks are servo ticks.

    Times count from the first tick of the first chunk; `completion_s` is None without success. `starved` are ticks in
    POLICY with no due action of a chunk, `held` those outside POLICY. `seams_rad` are the jumps at the changes of
    chunk, `ages_ms` the age of the observation behind the action of each policy tick. `jerk_rms` in rad/s^3 over the
    commanded joints. `violations` are counted at the devices.
    """

    seed: int
    success: bool
    completion_s: float | None
    duration_s: float
    ticks: int
    starved: int
    held: int
    violations: int
    seams_rad: tuple[float, ...]
    ages_ms: tuple[float, ...]
    jerk_rms: float
    inference: Inference


@dataclass
class Trace:
    """What is noted while an episode runs; `keep` also keeps what was planned at every servo tick, for a picture."""

    servo_hz: int
    keep: bool = False
    ticks: int = 0
    starved: int = 0
    held: int = 0
    seams_rad: list[float] = field(default_factory=list)
    seam_ticks: list[int] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)
    commands: list[NDArray[np.float64]] = field(default_factory=list)
    plans: list[NDArray[np.float64]] = field(default_factory=list)

    def note(self, tick: NDArray[Any], command: NDArray[Any], view: NDArray[Any]) -> None:
        """Note a servo tick's TICK, JOINT_COMMAND and TIMELINE_VIEW records."""
        self.ticks += 1
        self.commands.append(np.array(command["position"]))
        self.starved += int(tick["starved"])
        self.held += int(tick["mode"]) != Mode.POLICY
        if self.keep:
            ahead = max(int(view["end_tick"]) - int(view["tick"]), 1)
            self.plans.append(np.array(view["actions"][VIEW_PAST_TICKS : VIEW_PAST_TICKS + ahead]))

    def seam(self, jump_rad: float) -> None:
        """Note that the tick noted last is the first of another chunk."""
        self.seams_rad.append(jump_rad)
        self.seam_ticks.append(self.ticks - 1)

    @property
    def jerk_rms(self) -> float:
        """Root mean square of the third difference of the commanded joints, rad/s^3; 0 for a few ticks."""
        if len(self.commands) < 4:
            return 0.0
        joints = np.stack(self.commands)[:, JOINT_INDEX]
        return float(np.sqrt(np.mean((np.diff(joints, n=3, axis=0) * float(self.servo_hz) ** 3) ** 2)))

    def episode(self, seed: int, success: bool, duration_s: float, violations: int, inference: Inference) -> Episode:
        """Return what was noted, with the outcome."""
        return Episode(
            seed=seed,
            success=success,
            completion_s=duration_s if success else None,
            duration_s=duration_s,
            ticks=self.ticks,
            starved=self.starved,
            held=self.held,
            violations=violations,
            seams_rad=tuple(self.seams_rad),
            ages_ms=tuple(self.ages_ms),
            jerk_rms=self.jerk_rms,
            inference=inference,
        )
