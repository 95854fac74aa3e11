"""Both guardians, two ideal arms and the control core on a virtual clock: a rig for tests, without processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import records
from runtime.clock import NS_PER_MS, NS_PER_S, TickBase
from runtime.config import RigConfig, load_rig
from runtime.control.core import ControlConfig, ControlCore, TickInputs, TickOutputs
from runtime.control.guardian import GuardianCore, GuardianOutput
from runtime.drivers.sim.audit import LimitAudit
from runtime.layout import ARM_SLICE, RIG_DOF, SIDES
from runtime.shm import blank, duplicate
from runtime.states import Link, Mode

T0_NS = NS_PER_S
HORIZON = 50


def chunk_record(actions: NDArray[np.float64], **fields: int) -> NDArray[Any]:
    """Return a CHUNK record of actions (H, 14)."""
    record: Any = blank(records.CHUNK)
    record["horizon"] = len(actions)
    record["actions"][: len(actions)] = actions
    for name, value in fields.items():
        record[name] = value
    result: NDArray[Any] = record
    return result


@dataclass
class FakeRig:
    """A rig whose arms are exactly where their guardians put them. Public fields may be changed between ticks."""

    name: str = "sim-x5"
    merge: str = "prefix"
    wait_ticks: int = 0
    want: Mode = Mode.HOLD
    clear: int = 0
    link: Link = Link.READY
    client_silent: bool = False
    servo_tick: int = 10
    now_ns: int = 0
    outputs: list[TickOutputs] = field(default_factory=list)
    inputs: list[TickInputs] = field(default_factory=list)
    guarded: list[list[GuardianOutput]] = field(default_factory=lambda: [[] for _ in SIDES])
    frozen: set[int] = field(default_factory=set)
    dead_guardians: set[int] = field(default_factory=set)
    device_fault: list[int] = field(default_factory=lambda: [0 for _ in SIDES])
    stuck: set[int] = field(default_factory=set)
    chunk_id: int = 0
    clutch: list[bool] = field(default_factory=lambda: [False for _ in SIDES])
    leader_valid: list[bool] = field(default_factory=lambda: [True for _ in SIDES])
    leader_silent: bool = False
    button: tuple[Mode, int, int] = (Mode.DISARMED, 0, 0)
    distrusted: bool = False
    amendments: list[NDArray[Any]] = field(default_factory=list)
    amendments_seen: int = 0

    def __post_init__(self) -> None:
        self.rig: RigConfig = load_rig(self.name)
        self.base = TickBase(T0_NS, self.rig.servo_hz, self.rig.policy_hz)
        self.core = self.new_core()
        self.guardians = [self.new_guardian(i) for i in range(len(SIDES))]
        self.audits = [LimitAudit(self.rig.arm_model(side), self.base.servo_period_ns / NS_PER_S) for side in SIDES]
        self.position = self.rig.stack("home") * 0.9 + 0.02
        self.arms = [blank(records.ARM_STATE) for _ in SIDES]
        self.status: list[Any] = [blank(records.GUARDIAN_STATUS) for _ in SIDES]
        self.command: Any = None
        self.leader_position = self.position.copy()
        self.leader: Any = blank(records.LEADER)
        self._measure()

    def new_core(self) -> ControlCore:
        """Return a control core as a process has it that has just started."""
        return ControlCore(ControlConfig.from_rig(self.rig, self.merge, wait_ticks=self.wait_ticks), self.base)

    def new_guardian(self, i: int) -> GuardianCore:
        """Return a guardian as a process has it that has just started."""
        ttl_ns, stale_ns = self.rig.command_ttl_ms * NS_PER_MS, self.rig.state_stale_ms * NS_PER_MS
        period_ns = self.base.servo_period_ns
        return GuardianCore(self.rig.arm_model(SIDES[i]), i, period_ns, round(ttl_ns), round(stale_ns))

    @property
    def tick(self) -> int:
        """The policy tick of the next servo tick."""
        return self.servo_tick // self.base.ratio

    @property
    def last(self) -> TickOutputs:
        """What the last tick decided."""
        return self.outputs[-1]

    @property
    def mode(self) -> Mode:
        """The mode of the last tick."""
        return Mode(int(self.last.command["mode"]))

    @property
    def violations(self) -> int:
        """Commands outside the limits, as the independent check at the devices counts them."""
        return sum(audit.violations for audit in self.audits)

    def _measure(self) -> None:
        for i, side in enumerate(SIDES):
            if i in self.frozen:
                continue
            arm: Any = self.arms[i]
            arm["seq"] += 1
            arm["t_ns"] = self.base.servo_time_ns(self.servo_tick)
            arm["position"] = self.position[ARM_SLICE[side]]
            arm["fault"] = self.device_fault[i]

    def _lead(self) -> None:
        """Publish where the leaders are; rigs whose clutch was never touched have none."""
        if not self.leader["seq"] and not any(self.clutch) and not self.button[1]:
            return
        if self.leader_silent:
            return
        leader: Any = self.leader
        leader["seq"] += 1
        leader["t_ns"] = self.now_ns
        leader["want"], leader["wants"], leader["clear"] = self.button
        for i, side in enumerate(SIDES):
            part: Any = leader["side"][i]
            part["t_ns"], part["position"] = self.now_ns, self.leader_position[ARM_SLICE[side]]
            part["clutch"], part["valid"] = self.clutch[i], self.leader_valid[i]

    def press(self, want: Mode, *, clear: bool = False) -> None:
        """Ask for a mode with a leader's button, or acknowledge with one."""
        _, wants, clears = self.button
        self.button = (want, wants + (not clear), clears + clear)

    def run(self, ticks: int, chunks: tuple[NDArray[Any], ...] = (), *, control: bool = True) -> None:
        """Advance by servo ticks; `chunks` arrive at the first; without `control` its process stands still."""
        for i in range(ticks):
            self._advance(chunks if i == 0 else (), control)

    def _advance(self, chunks: tuple[NDArray[Any], ...], control: bool) -> None:
        self.now_ns = self.base.servo_time_ns(self.servo_tick)
        self._measure()
        if control:
            self._lead()
            operator: Any = blank(records.OPERATOR)
            operator["want"], operator["clear"] = self.want, self.clear
            client_ns = 1 if self.client_silent else self.now_ns
            inputs = TickInputs(
                servo_tick=self.servo_tick,
                now_ns=self.now_ns,
                scheduled_ns=self.now_ns,
                arm=tuple(duplicate(arm) for arm in self.arms),
                guardian=tuple(duplicate(status) for status in self.status),
                operator=operator,
                client_t_ns=client_ns,
                client_link=self.link,
                chunks=list(chunks),
                chunks_seen=self.chunk_id,
                leader=duplicate(self.leader),
                client_distrusted=self.distrusted,
                amendments=self.amendments,
                amendments_seen=self.amendments_seen,
            )
            self.amendments = []
            self.inputs.append(inputs)
            self.outputs.append(self.core.step(inputs))
            self.command = self.last.command
        for i in range(len(SIDES)):
            if i not in self.dead_guardians:
                self._guard(i)
        self.servo_tick += 1

    def _guard(self, i: int) -> None:
        output = self.guardians[i].step(self.now_ns, self.command, self.arms[i])
        self.guarded[i].append(output)
        self.status[i] = output.status
        if output.enabled:
            self.audits[i].check(output.servo_tick, output.position)
            if i not in self.stuck:
                self.position[ARM_SLICE[SIDES[i]]] = output.position

    def answer(self, actions: NDArray[np.float64], *, age: int = 0, **fields: int) -> NDArray[Any]:
        """Return a chunk for this epoch about an observation `age` ticks old."""
        self.chunk_id += 1
        started = bool(self.last.view["started"])
        tick = self.tick - age
        known = {
            "chunk_id": self.chunk_id,
            "obs_seq": self.chunk_id,
            "epoch": int(self.last.view["epoch"]),
            "start_tick": tick,
            "cold": not started,
            "t_obs_ns": self.base.time_ns(tick) + self.chunk_id,
        }
        return chunk_record(actions, **{**known, **fields})

    def amend(self, actions: NDArray[np.float64], *, lead: int = 1, **fields: int) -> None:
        """Let an amendment of the plan arrive, `lead` ticks after the one under way."""
        record: Any = blank(records.AMENDMENT)
        record["epoch"], record["chunk_id"] = self.last.view["epoch"], self.last.view["chunk_id"]
        record["first_tick"], record["count"] = self.tick + lead, len(actions)
        record["t_obs_ns"] = record["t_made_ns"] = self.now_ns
        record["actions"][: len(actions)] = actions
        for name, value in fields.items():
            record[name] = value
        self.amendments.append(np.array(record))
        self.amendments_seen += 1

    def path(self, tick: int, count: int = HORIZON) -> NDArray[np.float64]:
        """Return a smooth path (count, 14) in absolute ticks, the same whenever it is asked for."""
        t_s = (tick + np.arange(count)) / self.rig.policy_hz
        wave = 0.15 * (1.0 - np.cos(1.5 * t_s))[:, None] * np.ones(RIG_DOF)
        home: NDArray[np.float64] = self.rig.stack("home") * 0.9 + 0.02
        wave[:, [6, 13]] *= -1.0
        return home + wave

    def engage(self) -> None:
        """Arm, hold, and start the policy on a first chunk that begins where the arms are."""
        self.want = Mode.HOLD
        self.run(20)
        self.want = Mode.POLICY
        self.run(3)
        start = self.last.command["position"]
        self.run(1, (self.answer(start + self.path(0) - self.path(0)[0]),))
