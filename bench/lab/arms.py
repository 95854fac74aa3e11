"""The simulated rig's arms on a virtual clock: guardians, the independent check, the physics and the feedback."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from runtime import records
from runtime.clock import NS_PER_MS, NS_PER_S, TickBase
from runtime.config import RigConfig
from runtime.control.guardian import GuardianCore
from runtime.drivers.sim.audit import LimitAudit
from runtime.drivers.sim.plant import Plant
from runtime.layout import ARM_SLICE, SIDES
from runtime.shm import blank, duplicate

_EARLY_S: Final = 1e-9


class LabArms:
    """Both arms of a plant behind their guardians. Physics goes on only when told to."""

    def __init__(self, rig: RigConfig, base: TickBase, plant: Plant) -> None:
        self.plant = plant
        self._period_s = base.servo_period_ns / NS_PER_S
        ttl_ns, stale_ns = round(rig.command_ttl_ms * NS_PER_MS), round(rig.state_stale_ms * NS_PER_MS)
        models = [rig.arm_model(side) for side in SIDES]
        self._guardians = [
            GuardianCore(model, i, base.servo_period_ns, ttl_ns, stale_ns) for i, model in enumerate(models)
        ]
        self._audits = [LimitAudit(model, self._period_s, rig.command_ticks) for model in models]
        self._states: tuple[Any, ...] = tuple(blank(records.ARM_STATE) for _ in SIDES)
        self.status: tuple[NDArray[Any], ...] = tuple(blank(records.GUARDIAN_STATUS) for _ in SIDES)
        self._physics_s = 0.0

    @property
    def violations(self) -> int:
        """Commands outside the limits, as the independent check at the devices counts them."""
        return sum(audit.violations for audit in self._audits)

    def measure(self, now_ns: int, *, silent: bool = False) -> tuple[NDArray[Any], ...]:
        """Return each arm's feedback of this moment; while `silent`, the left arm's last one."""
        position, velocity = self.plant.position(), self.plant.velocity()
        for side, state in zip(SIDES, self._states, strict=True):
            if silent and side == "left":
                continue
            part = ARM_SLICE[side]
            state["seq"] += 1
            state["t_ns"] = now_ns
            state["position"] = position[part]
            state["velocity"] = velocity[part]
        return tuple(duplicate(state) for state in self._states)

    def command(self, now_ns: int, command: NDArray[Any], states: tuple[NDArray[Any], ...]) -> None:
        """Let the guardians decide on a command and send what they allow to the devices."""
        outputs = [
            guardian.step(now_ns, command, state) for guardian, state in zip(self._guardians, states, strict=True)
        ]
        self.status = tuple(output.status for output in outputs)
        for side, audit, output in zip(SIDES, self._audits, outputs, strict=True):
            if output.enabled:
                audit.check(output.servo_tick, output.position)
                self.plant.command_arm(side, output.position)

    def advance(self) -> bool | None:
        """Let one servo tick pass; returns the task's outcome once it is decided."""
        plant = self.plant
        self._physics_s += self._period_s
        while plant.time_s < self._physics_s - _EARLY_S:
            plant.step()
        return plant.task.outcome(plant.model, plant.data)
