"""A rig whose every decision is the product's and whose time is not: client, control and guardians as pure functions.

Arms are where their guardians put them, the policy is a smooth path from where the arms stood. What goes wrong, and
when, is `Plan`'s; `Witness` looks at every tick and trusts none of the code that decides.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.faults.corrector import SPOILT, SpoiltCorrector
from bench.faults.plan import FAR_RAD, Kind, Plan
from bench.faults.witness import Witness
from runtime import records
from runtime.clock import NS_PER_MS, NS_PER_S, TickBase
from runtime.config import RigConfig, load_rig
from runtime.control.core import ControlConfig, ControlCore, TickInputs
from runtime.control.guardian import GuardianCore
from runtime.inference import wire
from runtime.inference.client.ask import Outcome
from runtime.inference.client.core import ClientCore
from runtime.layout import ARM_DOF, ARM_SLICE, JOINT_NAMES, RIG_DOF, SIDES
from runtime.shm import blank, duplicate
from runtime.states import Condition, Guard, Link, Verdict

T0_NS: Final = NS_PER_S
RINGS: Final = 64
"""Chunks that the ring keeps for a control process that does not read."""
SWAY_RAD: Final = 0.02
"""How far the leaders move by themselves."""
_PHASES: Final = np.tile(np.arange(ARM_DOF, dtype=np.float64), len(SIDES))
_RIGS: Final[dict[str, RigConfig]] = {}


def _rig(name: str) -> RigConfig:
    if name not in _RIGS:
        _RIGS[name] = load_rig(name)
    return _RIGS[name]


class VirtualRig:
    """One episode of a plan; `run` plays it and leaves what was seen in `witness`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = np.random.default_rng((plan.seed, 1))
        self._rig = rig = _rig(plan.rig)
        self._base = TickBase(T0_NS, rig.servo_hz, rig.policy_hz)
        self._config = ControlConfig.from_rig(rig, plan.merge, wait_ticks=plan.wait_ticks)
        self._core = ControlCore(self._config, self._base)
        self._client = self._new_client()
        self._guardians = [self._guardian(i) for i in range(len(SIDES))]
        self._arms: list[Any] = [blank(records.ARM_STATE) for _ in SIDES]
        self._status: list[NDArray[Any]] = [blank(records.GUARDIAN_STATUS) for _ in SIDES]
        self._position = rig.stack("home") * 0.9 + 0.02
        self._command: NDArray[Any] | None = None
        self._view: NDArray[Any] | None = None
        self._answers: list[tuple[int, wire.Chunk, NDArray[np.float64]]] = []
        self._ring: list[NDArray[Any]] = []
        self._pushed = self._seen = 0
        self._offset = np.zeros(RIG_DOF)
        self._corrector = SpoiltCorrector(plan, self._base)
        self._operator: Any = blank(records.OPERATOR)
        self._client_ns = 0
        self._leader: Any = blank(records.LEADER)
        self._sides: list[Any] = [self._leader["side"][i : i + 1].reshape(()) for i in range(len(SIDES))]
        self.witness = Witness(plan.seed, rig, self._base)

    def run(self) -> Witness:
        """Play the plan to its end."""
        for servo_tick in range(10, 10 + self._plan.ticks):
            self._advance(servo_tick, self._plan.standing(servo_tick))
        self.witness.close()
        return self.witness

    def _guardian(self, i: int) -> GuardianCore:
        ttl_ns, stale_ns = self._rig.command_ttl_ms * NS_PER_MS, self._rig.state_stale_ms * NS_PER_MS
        period_ns = self._base.servo_period_ns
        return GuardianCore(self._rig.arm_model(SIDES[i]), i, period_ns, round(ttl_ns), round(stale_ns))

    def _new_client(self, chunks: int = 0, requests: int = 0) -> ClientCore:
        deadline_ns = 600 * NS_PER_MS
        client = ClientCore(
            self._base, self._plan.merge, deadline_ns, observation_ns=0, chunks=chunks, requests=requests
        )
        client.open(_schema(self._plan.horizon))
        return client

    def _advance(self, servo_tick: int, wrong: frozenset[Kind]) -> None:
        now_ns = self._base.servo_time_ns(servo_tick)
        self._measure(now_ns, wrong)
        self._operate(servo_tick)
        if Kind.CLIENT_SILENT not in wrong:
            self._client_ns = now_ns
            self._ask_and_receive(now_ns, wrong)
        if Kind.CONTROL_KILLED in wrong:
            self._core = ControlCore(self._config, self._base)
            self._seen = self._pushed
            self.witness.restarted()
        elif Kind.CONTROL_STOPPED not in wrong and not (Kind.TICKS_SKIPPED in wrong and servo_tick % 3 == 0):
            self._control(servo_tick, now_ns + int(self._rng.integers(2_000_000)), wrong)
        for i in range(len(SIDES)):
            self._guard(i, now_ns + int(self._rng.integers(2_000_000, 4_500_000)), wrong)

    def _measure(self, now_ns: int, wrong: frozenset[Kind]) -> None:
        for i, side in enumerate(SIDES):
            arm = self._arms[i]
            if i == 0 and Kind.ARM_SILENT in wrong:
                continue
            arm["seq"] += 1
            arm["t_ns"] = now_ns - int(self._rng.integers(3_000_000))
            arm["position"] = self._position[ARM_SLICE[side]]
            arm["fault"] = 4 if i == 1 and Kind.DEVICE_FAULT in wrong else 0
            if i == 0 and Kind.FEEDBACK_NAN in wrong:
                arm["position"][2] = np.nan
            if i == 1 and Kind.FEEDBACK_ZERO in wrong:
                arm["position"] = 0.0

    def _operate(self, servo_tick: int) -> None:
        for action in self._plan.actions.get(servo_tick, ()):
            self._operator["seq"] += 1
            self._operator["want"] = action.want
            self._operator["clear"] += action.clears

    def _control(self, servo_tick: int, now_ns: int, wrong: frozenset[Kind]) -> None:
        kept = self._ring[max(self._seen - self._pushed + len(self._ring), 0) :]
        self._seen = self._pushed
        link = Link.LOST if Kind.SERVER_LOST in wrong else Link.READY
        inputs = TickInputs(
            servo_tick=servo_tick,
            now_ns=now_ns,
            scheduled_ns=self._base.servo_time_ns(servo_tick),
            arm=tuple(duplicate(arm) for arm in self._arms),
            guardian=tuple(duplicate(status) for status in self._status),
            operator=duplicate(self._operator),
            client_t_ns=self._client_ns,
            client_link=link,
            chunks=kept,
            chunks_seen=self._pushed,
            leader=self._led(now_ns, wrong),
            amendments=self._corrector.amendments(self._view, now_ns, wrong),
        )
        outputs = self._core.step(inputs)
        self._command, self._view = outputs.command, outputs.view
        self.witness.decided(inputs, outputs)
        if wrong & SPOILT and int(outputs.tick["amended"]) == Verdict.USED:
            self.witness.fail("a spoilt amendment was believed")

    def _led(self, now_ns: int, wrong: frozenset[Kind]) -> NDArray[Any]:
        """Return what both leaders say: where the arms are, moving on a little, or what goes wrong with them."""
        leader = self._leader
        leader["seq"] += 1
        leader["t_ns"] = now_ns
        position = self._position + SWAY_RAD * np.sin(now_ns / 3e8 + _PHASES)
        for i, (side, state) in enumerate(zip(SIDES, self._sides, strict=True)):
            if i == 0 and Kind.LEADER_SILENT in wrong:
                continue
            state["t_ns"], state["valid"], state["clutch"] = now_ns, 1, Kind.CLUTCH_HELD in wrong
            state["position"] = position[ARM_SLICE[side]]
            if i == 0 and Kind.LEADER_FAR in wrong:
                state["position"] += 3.0
            if i == 1 and Kind.LEADER_JUMPS in wrong:
                state["position"] += 0.5 * (-1) ** int(leader["seq"])
            if i == 1 and Kind.LEADER_NAN in wrong:
                state["position"][4] = np.nan
        return duplicate(leader)

    def _guard(self, i: int, now_ns: int, wrong: frozenset[Kind]) -> None:
        if i == 0 and Kind.GUARDIAN_STOPPED in wrong:
            return
        if i == 0 and Kind.GUARDIAN_KILLED in wrong:
            self._guardians[i] = self._guardian(i)
            self.witness.replaced(i)
            return
        unread = i == 1 and Kind.COMMAND_TORN in wrong
        command = None if unread else self._command
        output = self._guardians[i].step(now_ns, command, self._arms[i])
        self._status[i] = output.status
        self.witness.guarded(i, now_ns, command, self._arms[i]["position"], output)
        if output.enabled and not (i == 1 and Kind.ARM_STUCK in wrong):
            self._position[ARM_SLICE[SIDES[i]]] = output.position
        if not output.enabled and int(output.status["state"]) != Guard.DISARMED:
            self.witness.fail("an armed arm was let go")

    def _ask_and_receive(self, now_ns: int, wrong: frozenset[Kind]) -> None:
        view, client = self._view, self._client
        if view is None:
            return
        if Kind.CLIENT_KILLED in wrong:
            self._client = self._new_client(chunks=self._pushed, requests=10_000)
            self._answers.clear()
            return
        client.follow(view)
        client.watch(now_ns)
        self._push(client.abandon(now_ns), wrong)
        due = [answer for answer in self._answers if answer[0] <= now_ns]
        self._answers = [answer for answer in self._answers if answer[0] > now_ns]
        for _, message, actions in due:
            self._push(client.answer(message, {"actions": actions}, now_ns), wrong)
        self._push(client.expire(now_ns), wrong)
        if Kind.SERVER_LOST in wrong:
            self._push(client.lose(now_ns), wrong)
            return
        if not client.wants(view, now_ns):
            return
        ask = client.plan(view, now_ns, now_ns)
        if ask is None:
            return
        if ask.cold:
            self._offset = np.array(view["actions"][records.VIEW_PAST_TICKS]) - self._path(ask.obs_tick, 1)[0]
        actions = self._path(ask.obs_tick + ask.terms.lead_ticks, self._plan.horizon) + self._offset
        message = wire.Chunk(session="v", request_seq=ask.request_seq, obs_seq=ask.obs_seq, server_ns=0, infer_ns=0)
        self._send(now_ns, message, actions, wrong)
        client.sent(ask)

    def _send(self, now_ns: int, message: wire.Chunk, actions: NDArray[np.float64], wrong: frozenset[Kind]) -> None:
        """Let an answer be under way, as the wire spoils it."""
        if Kind.ANSWER_LOST in wrong:
            return
        low, high = self._plan.latency_ms
        latency_ns = int(self._rng.uniform(low, high) * NS_PER_MS)
        if Kind.ANSWER_LATE in wrong:
            latency_ns += int(self._rng.uniform(100, 1500) * NS_PER_MS)
        if Kind.ANSWER_NAN in wrong:
            actions = actions.copy()
            actions[int(self._rng.integers(self._plan.horizon)), int(self._rng.integers(RIG_DOF))] = np.nan
        if Kind.ANSWER_SHORT in wrong:
            actions = actions[:-1]
        self._answers.append((now_ns + latency_ns, message, actions))
        if Kind.ANSWER_TWICE in wrong:
            self._answers.append((now_ns + latency_ns + int(self._rng.uniform(0, 80) * NS_PER_MS), message, actions))

    def _push(self, outcomes: list[Outcome], wrong: frozenset[Kind]) -> None:
        """Put the client's chunks on the board, as a client that has gone wrong would."""
        for outcome in outcomes:
            if outcome.chunk is None:
                continue
            chunk: Any = np.array(outcome.chunk)
            sound = True
            if Kind.CHUNK_NAN in wrong:
                chunk["actions"][0, 3] = np.inf
                sound = False
            if Kind.CHUNK_FAR in wrong:
                chunk["actions"] += FAR_RAD
                sound = False
            if Kind.CHUNK_WRONG in wrong:
                field, value = self._plan.wrong_field
                # The first chunk of an epoch is cold, and begins when it arrives, whatever tick it names.
                harmless = bool(chunk["cold"]) and (field == "cold" or (field == "start_tick" and value < 0))
                chunk[field] = value
                sound = sound and harmless
            if Kind.CHUNK_LATER in wrong and self._view is not None:
                chunk["start_tick"] = self._view["end_tick"]
            copies = 2 if Kind.CHUNK_TWICE in wrong else 1
            self._ring.extend([chunk] * copies)
            if Kind.CHUNK_REORDERED in wrong and len(self._ring) > 1:
                self._ring[-1], self._ring[-2] = self._ring[-2], self._ring[-1]
            if Kind.CHUNK_OLD in wrong and len(self._ring) > 3:
                self._ring.append(self._ring[-3])
                copies += 1
            self._pushed += copies
            del self._ring[:-RINGS]
            self.witness.pushed(chunk, sound=sound)

    def _path(self, tick: int, count: int) -> NDArray[np.float64]:
        t_s = (tick + np.arange(count)) / self._rig.policy_hz
        wave = self._plan.reach * np.sin(self._plan.pace * t_s[:, None] + np.arange(RIG_DOF))
        wave[:, [6, 13]] *= 0.3
        return wave + self._plan.noise * self._rng.standard_normal((count, RIG_DOF))


def _schema(horizon: int) -> wire.Schema:
    return wire.Schema(
        policy="virtual",
        policy_class="vla",
        joint_names=tuple(JOINT_NAMES),
        rate_hz=50,
        horizon=horizon,
        execute_steps=10,
        prefix_max=horizon,
        cameras=(),
        width_px=0,
        height_px=0,
        velocity=False,
        object_state=0,
        latency_ms=60.0,
        conditions=tuple(Condition),
    )


def play(seed: int) -> Witness:
    """Play the schedule of a seed; the same seed gives the same episode."""
    return VirtualRig(Plan.of(seed)).run()
