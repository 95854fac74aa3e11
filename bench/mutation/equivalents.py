"""Mutants that change nothing that could be seen, each with the reason; by module and the mutant's name."""

from __future__ import annotations

from typing import Final

_OVERWRITTEN: Final = "written before it is read: a guardian reads it only once it has followed a command"
_LENGTHS: Final = "both are always seven long"
_SOONER: Final = "velocities are looked at from a lower one on, where they cannot bound anything yet"
_QUICK: Final = "the quick bound's very edge: what it does not let through, the exact stop does"
_RAMP: Final = "self._axes.ramp_sum(self._a_max + self._j_max)"
EQUIVALENT: Final[dict[str, dict[str, str]]] = {
    "runtime.control.modes": {"_lead: 0 -> 1": "bit 0 is server_lost, which only notes: it is never latched"},
    "runtime.control.guardian": {
        **{f"GuardianCore.__init__: 0 -> 1 #{n}": _OVERWRITTEN for n in (6, 8, 9, 10, 11, 12, 13)},
        "GuardianCore.__init__: 0.0 -> 1.0": _OVERWRITTEN,
        "GuardianCore.__init__: 0.0 -> 1.0 #2": _OVERWRITTEN,
        "GuardianCore.__init__: 1 -> 2 #3": "one leap more than is ever looked up",
        "GuardianCore.__init__: 1 -> 2 #4": "-1 or -2: no servo tick is below zero",
        "GuardianCore._leave: now_ns - self._period_ns -> now_ns + self._period_ns": (
            "a period to come is taken back as one that has passed is: the first tick of a brake is played at once"
        ),
        "GuardianCore.step: command is not None and fresh -> command is not None or fresh": (
            "fresh implies a command, and to take the same command again changes nothing"
        ),
        "GuardianCore._arm: True -> False": _LENGTHS,
        "GuardianCore._arm: True -> False #2": _LENGTHS,
        "GuardianCore._follow: True -> False": _LENGTHS,
        "GuardianCore._is_jump: True -> False": _LENGTHS,
        "_near: True -> False": _LENGTHS,
    },
    "runtime.control.limits": {
        **{
            f"RigLimiter.{where}: 1.01{change}": _SOONER
            for where in ("__init__", "slow")
            for change in (" -> 2.02", f" * {_RAMP} -> 1.01 / {_RAMP}")
        },
        "RigLimiter._choices: np.abs(self._v) <= self._v_free -> np.abs(self._v) < self._v_free": _SOONER,
        "RigLimiter._holds: speed <= self._v_max -> speed < self._v_max": _QUICK,
        "RigLimiter._holds: p + distance <= self._high -> p + distance < self._high": _QUICK,
        "RigLimiter._holds: p - distance >= self._low -> p - distance > self._low": _QUICK,
        "_root: rising <= 0.0 -> rising < 0.0": "a root on the grid is the end of either chord",
        "_root: 1e-300 -> 2e-300": "it only keeps 0 from dividing 0",
    },
    "runtime.control.timeline": {
        "Timeline.expected: tick - 1 -> tick + 1": "the row is clamped to the plan's last either way",
        "Timeline._slope: self.begin_tick < tick < self.end_tick -> self.begin_tick < tick <= self.end_tick": (
            "the slope at the end is asked for by nobody"
        ),
    },
    "runtime.drivers.piper.codec": {
        ": 3 -> 4 #2": "the fourth is the gripper's identifier, which follows and is its own"
    },
    "runtime.inference.wire": {
        "_arrays: True -> False": "the lengths were compared two lines above",
        "encode: 1 -> 2 #2": "numpy takes any negative length for the one that is left open",
    },
}
