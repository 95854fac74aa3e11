"""A whole rig in one process and on a virtual clock: control, guardians, physics, and who provides the chunks.

Every decision is made by the code that makes it live; what is replaced are sockets, shared memory and waiting. The
same arguments give the same episode, byte for byte.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from numpy.typing import NDArray

from bench.lab.arms import LabArms
from bench.lab.episode import Episode, Inference, Trace
from bench.lab.faults import Fault, Schedule
from runtime import records
from runtime.clock import NS_PER_S, TickBase
from runtime.config import RigConfig
from runtime.control.core import ControlConfig, ControlCore, TickInputs, TickOutputs
from runtime.control.settings import JUMP_RAD
from runtime.drivers.sim.plant import Plant
from runtime.shm import blank
from runtime.states import Link, Mode

NO_FAULTS: Final = Schedule()
T0_NS: Final = NS_PER_S
WAIT_TICKS: Final = 150
"""Policy ticks (3 s) for which a plan that ran out is waited for, whatever the merge: all are treated alike."""
OPERATOR_TICKS: Final = 100
"""Servo ticks (0.5 s) that the operator takes to acknowledge."""
_NO_VIEW: Final[NDArray[Any]] = blank(records.TIMELINE_VIEW)
ENGAGE_TICKS_MAX: Final = 20_000
"""Servo ticks that arming and the first chunk may take: 100 s."""


class Driver(Protocol):
    """Who provides the chunks: this runtime's client with a policy server, or another project's."""

    merge: str
    """What the control process does with the chunks."""

    def turn(self, view: NDArray[Any], now_ns: int) -> list[NDArray[Any]]:
        """Do what happens between two servo ticks; returns the CHUNK records that arrived."""

    def amend(self, view: NDArray[Any], now_ns: int) -> list[NDArray[Any]]:
        """Look at the plan again; returns the AMENDMENT records that arrived."""

    def note(self, tick: NDArray[Any], trace: Trace) -> None:
        """Add to the trace what the TICK record of a servo tick alone does not tell."""

    @property
    def inference(self) -> Inference:
        """What its requests came to."""


def tick_base(rig: RigConfig) -> TickBase:
    """Return the tick grids of a lab run."""
    return TickBase(T0_NS, rig.servo_hz, rig.policy_hz)


class Lab:
    """One episode's rig. The world stands still until the first action of the first chunk is due.

    `plant` has been reset with the episode's `seed`; `jump_rad` as in ControlConfig; `keep` as in Trace. What `faults`
    does to the motion, the scripted operator answers by an acknowledgement and a new start.
    """

    def __init__(
        self,
        rig: RigConfig,
        plant: Plant,
        driver: Driver,
        seed: int,
        *,
        jump_rad: float = JUMP_RAD,
        faults: Schedule = NO_FAULTS,
        keep: bool = False,
    ) -> None:
        self._seed = seed
        self._faults = faults
        self._base = tick_base(rig)
        config = ControlConfig.from_rig(rig, driver.merge, wait_ticks=WAIT_TICKS, jump_rad=jump_rad)
        self._core = ControlCore(config, self._base)
        self._driver = driver
        self._arms = LabArms(rig, self._base, plant)
        self._want = Mode.HOLD
        self._servo_tick = 0
        self._chunks_seen = self._amendments_seen = 0
        self._outputs: TickOutputs | None = None
        self._clear = 0
        self._halted_ticks = 0
        self.trace = Trace(rig.servo_hz, keep)

    @property
    def plant(self) -> Plant:
        """The physics."""
        return self._arms.plant

    def run(self) -> Episode:
        """Play the episode to its outcome; one that does not begin within `ENGAGE_TICKS_MAX` has failed."""
        plant = self._arms.plant
        outcome = None if self._engage() else False
        while outcome is None and plant.time_s < plant.task.time_limit_s:
            self._step()
            outcome = self._arms.advance()
        return self.trace.episode(
            self._seed, outcome is True, plant.time_s, self._arms.violations, self._driver.inference
        )

    def _engage(self) -> bool:
        """Arm the arms and start the policy, in a world that stands still until its first action; whether it began."""
        for servo_tick in range(ENGAGE_TICKS_MAX):
            mode = Mode(int(self._step().command["mode"]))
            if mode is Mode.POLICY:
                return True
            if mode is Mode.HOLD and servo_tick > 2 * self._base.ratio:
                self._want = Mode.POLICY
        return False

    def _step(self) -> TickOutputs:
        """Let one servo tick pass: measure, let chunks arrive, decide, guard."""
        now_ns = self._base.servo_time_ns(self._servo_tick)
        acted_ns = self.trace.ticks * self._base.servo_period_ns
        states = self._arms.measure(now_ns, silent=self._faults.stands(Fault.ARM_SILENT, acted_ns))
        view = _NO_VIEW if self._outputs is None else self._outputs.view
        chunks = self._faults.spoil(self._driver.turn(view, now_ns), acted_ns)
        outputs = self._outputs
        if outputs is None or not self._faults.stands(Fault.CONTROL_PAUSED, acted_ns):
            amendments = self._driver.amend(view, now_ns)
            outputs = self._outputs = self._core.step(self._inputs(now_ns, states, chunks, amendments))
            self._operate(Mode(int(outputs.command["mode"])))
        if int(outputs.command["mode"]) == Mode.POLICY or self.trace.ticks:
            self.trace.note(outputs.tick, outputs.command, outputs.view)
            self._driver.note(outputs.tick, self.trace)
        self._arms.command(now_ns, outputs.command, states)
        self._servo_tick += 1
        return outputs

    def _operate(self, mode: Mode) -> None:
        """Be the operator who acknowledges a motion that was ended, a moment later."""
        halted = mode in {Mode.HOLD, Mode.FAULT} and bool(self.trace.ticks)
        self._halted_ticks = self._halted_ticks + 1 if halted else 0
        if self._halted_ticks and self._halted_ticks % OPERATOR_TICKS == 0:
            self._clear += 1

    def _inputs(
        self,
        now_ns: int,
        states: tuple[NDArray[Any], ...],
        chunks: list[NDArray[Any]],
        amendments: list[NDArray[Any]],
    ) -> TickInputs:
        operator: Any = blank(records.OPERATOR)
        operator["want"], operator["clear"] = self._want, self._clear
        self._chunks_seen += len(chunks)
        self._amendments_seen += len(amendments)
        return TickInputs(
            servo_tick=self._servo_tick,
            now_ns=now_ns,
            scheduled_ns=now_ns,
            arm=states,
            guardian=self._arms.status,
            operator=operator,
            client_t_ns=now_ns,
            client_link=Link.READY,
            chunks=chunks,
            chunks_seen=self._chunks_seen,
            amendments=amendments,
            amendments_seen=self._amendments_seen,
        )
