"""An adapter behind our own server: its chunks in the rig's ticks, its episodes begun and told as they happen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.errors import LeadtimeError
from runtime.inference import wire
from runtime.inference.adapters.base import Adapter, AdapterError, Card, Executed, Question, Reply, View
from runtime.inference.fit import RefusalError, check_fit
from runtime.inference.foresight import bounded, is_film
from runtime.inference.pacing import resample, ticks_of
from runtime.inference.server.served import Answer
from runtime.inference.server.session import Job
from runtime.layout import JOINT_NAMES, RIG_DOF, SIDES
from runtime.records import CHUNK_STEPS_MAX
from runtime.states import Condition

OPEN_S: Final = 30.0
"""How long a peer may take to be there: some compile their model on the first request."""
TRIALS: Final = 3
"""Requests about grey pictures that tell the latency; the first is not counted."""
GREY: Final = 128
TRIAL_PX: Final = (240, 320)


class Hosted:
    """One rig at a time on an open adapter. `arm` is the arm model that its hands are of, None without hands."""

    places: int | None = 1

    def __init__(self, adapter: Adapter, card: Card, about: str, latency_ms: float, arm: str | None = None) -> None:
        self.name = card.name
        self.about = about
        self.latency_ms = latency_ms
        self._adapter = adapter
        self._card = card
        self._arm = arm
        self._episode: tuple[str, int] | None = None
        self._told = Fraction(0)
        """The tick until which the peer knows what was executed."""
        self._rest = np.empty((0, RIG_DOF), np.float32)
        """What was executed from that tick on, as far as it came: less than a step of the peer."""

    def agree(self, hello: wire.Hello) -> wire.Schema:
        """Return what the peer and a rig agree on; see `agreement`."""
        return agreement(self._card, hello.rig, self.latency_ms, self._arm)

    def answers(self, job: Job) -> Iterator[Answer]:
        """Yield the chunk for a request: no peer's own protocol gives it in parts."""
        yield self.answer(job)

    def answer(self, job: Job) -> Answer:
        """Return the chunk for a request; an episode begins with the first of its session and epoch.

        Raises:
            WireError: the request is not what was agreed.
            AdapterError: the peer failed; the next request begins its episode anew.
        """
        question = self._question(job)
        episode = job.request.session, job.request.epoch
        try:
            if episode != self._episode:
                question = self._begin(job, question)
            reply = self._adapter.infer(question)
        except AdapterError:
            self._episode = None
            raise
        self._episode = episode
        self._told, self._rest = self._known(job, question)
        return self._in_ticks(reply, job.schema)

    def close(self) -> None:
        """Let go of the peer."""
        self._adapter.close()

    def _begin(self, job: Job, question: Question) -> Question:
        """Begin an episode, and return what is asked next in it.

        The rig tells from a view on what it has executed where the peer has lost its memory of this episode. It is then
        brought to where it was: it answers that view as the first, and is told the rest with the question.
        """
        self._episode, self._told = None, Fraction(0)
        until_s = time.monotonic() + question.timeout_s
        self._adapter.reset(question.prompt)
        begun = [view for tick, view in self._keys(job) if tick == 0 < _count(job, "executed")]
        if not job.schema.stateful or not begun:
            return replace(question, executed=None)
        nothing = question.planned[:0]
        self._adapter.infer(replace(question, view=begun[0], planned=nothing, committed=0, executed=None))
        self._told = Fraction(job.request.executed_tick)
        return replace(self._question(job), timeout_s=until_s - time.monotonic())

    def _known(self, job: Job, question: Question) -> tuple[Fraction, NDArray[np.float32]]:
        """Return the tick until which the peer knows what was executed, its first view's at first, and what is left."""
        if question.executed is None:
            return Fraction(job.request.executed_tick + _count(job, "executed")), self._rest[:0]
        begin, ticks = self._untold(job)
        end = begin + len(question.executed.actions) * self._pace(job.schema)
        return end, ticks[int(end) - int(begin) :]

    def _question(self, job: Job) -> Question:
        view = View(
            images={name: _picture(job, f"image/{name}") for name in job.schema.cameras},
            position=_numbers(job, "state", (RIG_DOF,)),
            velocity=_numbers(job, "velocity", (RIG_DOF,)),
        )
        planned = _numbers(job, "prefix", (_count(job, "prefix"), RIG_DOF))
        if len(planned) > job.schema.horizon:
            raise wire.WireError(f"{len(planned)} steps of the plan; a chunk has {job.schema.horizon}")
        if job.request.committed > len(planned):
            raise wire.WireError(f"{job.request.committed} steps committed, {len(planned)} of the plan were sent")
        pace = self._pace(job.schema)
        return Question(
            view=view,
            prompt=job.hello.prompt or job.hello.task,
            planned=_in_steps(planned, pace, ticks_of(len(planned), 1 / pace)),
            committed=ticks_of(job.request.committed, 1 / pace),
            executed=self._executed(job, view, pace) if job.schema.stateful else None,
            timeout_s=job.request.deadline_ms / 1000.0,
            seed=job.request.seed,
        )

    def _pace(self, schema: wire.Schema) -> Fraction:
        """Return how many ticks of the rig a step of the peer lasts."""
        return Fraction(schema.rate_hz, self._card.rate_hz)

    def _untold(self, job: Job) -> tuple[Fraction, NDArray[np.float32]]:
        """Return the tick from which on nothing that was executed is told, and the rows from the one that it is in."""
        rows, first = _numbers(job, "executed", (_count(job, "executed"), RIG_DOF)), job.request.executed_tick
        ahead = first - int(self._told)
        if 0 < ahead <= len(self._rest):
            return self._told, np.concatenate((self._rest[:ahead], rows))
        return (Fraction(first), rows) if ahead > 0 else (self._told, rows[-ahead:])

    def _executed(self, job: Job, newest: View, pace: Fraction) -> Executed:
        """Return the whole steps of what was executed and not yet told; the newest view is that after the last."""
        begin, ticks = self._untold(job)
        steps = _in_steps(ticks, pace, int((int(begin) + len(ticks) - begin) / pace))
        began = begin - job.request.executed_tick
        # A view at a tick was seen when the step before it was done, the newest of all when the last whole one was.
        rows = [(round((tick - began) / pace) - 1, view) for tick, view in self._keys(job)]
        seen = [(row, view) for row, view in rows if 0 <= row < len(steps) - 1]
        seen += [(len(steps) - 1, newest)] if len(steps) else []
        return Executed(steps, tuple(view for _, view in seen), tuple(row for row, _ in seen))

    def _keys(self, job: Job) -> list[tuple[int, View]]:
        """Return the key views of a request with the ticks, rows of `executed`, at which they were seen."""
        if "key_tick" not in job.arrays:
            return []
        array, rows = job.arrays["key_tick"], _count(job, "executed")
        if array.dtype.str[1:] != "i8" or array.ndim != 1:
            raise wire.WireError(f"array 'key_tick' is {array.dtype.str[1:]} {array.shape}; i8 (views,) is wanted")
        ticks = array.tolist()
        if not all(before < after for before, after in pairwise([-1, *ticks, rows])):
            raise wire.WireError(f"array 'key_tick' is no rising series of the {rows} rows of 'executed', from 0 on")
        states = _numbers(job, "key_state", (len(ticks), RIG_DOF))
        stacks = {name: _pictures(job, f"key/{name}", len(ticks)) for name in job.schema.cameras}
        still = np.zeros(RIG_DOF, np.float32)
        return [(tick, View({n: stacks[n][i] for n in stacks}, states[i], still)) for i, tick in enumerate(ticks)]

    def _in_ticks(self, reply: Reply, schema: wire.Schema) -> Answer:
        """Return a reply at the rig's rate."""
        card, actions = self._card, np.asarray(reply.actions, dtype=np.float64)
        if actions.shape != (card.horizon, RIG_DOF) or not np.isfinite(actions).all():
            raise AdapterError(
                f"{card.name} answered with {actions.shape}; finite ({card.horizon}, {RIG_DOF}) was agreed"
            )
        rows = resample(actions, Fraction(card.rate_hz, schema.rate_hz), schema.horizon)
        value = reply.value if reply.value is not None and np.isfinite(reply.value) else None
        return Answer(rows.astype(np.float32), frames=_bounded(reply.frames, schema.cameras), value=value)


def agreement(card: Card, rig: wire.RigSchema, latency_ms: float, arm: str | None = None) -> wire.Schema:
    """Return what a peer with this card and a rig agree on, in ticks of the rig; `arm` as in `Hosted`.

    Raises:
        RefusalError: a camera is missing, the arms are others, or a chunk is too long for a run.
    """
    pace = Fraction(rig.rate_hz, card.rate_hz)
    schema = wire.Schema(
        policy=card.name,
        policy_class=card.kind,
        arms=() if arm is None else (arm,),
        joint_names=JOINT_NAMES,
        rate_hz=rig.rate_hz,
        horizon=ticks_of(card.horizon, pace),
        execute_steps=max(min(ticks_of(card.execute_steps, pace), CHUNK_STEPS_MAX), 1),
        prefix_max=min(ticks_of(card.prefix_max, pace), ticks_of(card.horizon, pace) - 1) if card.prefix_max else 0,
        cameras=card.cameras,
        width_px=0,
        height_px=0,
        velocity=True,
        object_state=0,
        latency_ms=latency_ms,
        conditions=(Condition.PLAIN, *([Condition.PREFIX] if card.prefix_max else [])),
        stateful=card.stateful,
        key_every=round(card.key_every * pace),
    )
    if schema.horizon > CHUNK_STEPS_MAX:
        raise RefusalError(
            f"policy {card.name!r} answers with {card.horizon} steps at {card.rate_hz} Hz, {schema.horizon} ticks "
            f"of rig {rig.name!r}; a run takes {CHUNK_STEPS_MAX}"
        )
    check_fit(schema, rig)
    return schema


def opened(adapter: Adapter, what: str, arms: str | None, profile_ms: float = 0.0) -> Hosted:
    """Open an adapter and measure how long an answer takes; clients expect at least `profile_ms`.

    `what` is said of it, `arms` as in `Hosted`.

    Raises:
        AdapterError: the peer cannot be reached, or answers what it may not.
    """
    try:
        card = adapter.open(OPEN_S)
        adapter.reset("")
        times_ms = [_trial_ms(adapter, card, arms) for _ in range(TRIALS)]
        adapter.reset("")
    except LeadtimeError:
        adapter.close()
        raise
    model_ms = float(np.median(times_ms[1:]))
    about = f"{what}, {card.horizon} steps at {card.rate_hz} Hz, {model_ms:.1f} ms away"
    return Hosted(adapter, card, about, max(model_ms, profile_ms), arms)


def _trial_ms(adapter: Adapter, card: Card, arm: str | None) -> float:
    still = np.zeros(RIG_DOF, np.float32)
    # Hands are asked to go on from where they are: from a posture that a rig may have.
    posture = still if arm is None else np.tile(ARM_MODELS[arm].home_array, len(SIDES)).astype(np.float32)
    grey = np.full((*TRIAL_PX, 3), GREY, dtype=np.uint8)
    nothing = np.empty((0, RIG_DOF), np.float32)
    view = View(dict.fromkeys(card.cameras, grey), posture, still)
    begun_ns = time.monotonic_ns()
    # Each trial is the first request of an episode, so that nothing need have been executed.
    adapter.reset("")
    adapter.infer(Question(view, "", nothing, 0, None, OPEN_S))
    return (time.monotonic_ns() - begun_ns) / 1e6


def _bounded(frames: Mapping[str, NDArray[Any]], cameras: tuple[str, ...]) -> dict[str, NDArray[np.uint8]]:
    """Return of predicted pictures what a rig compares and keeps: of its cameras, few and small, whatever a peer says.

    What are no pictures is left out: the actions beside them are as good as they were.
    """
    return {name: bounded(rows) for name, rows in frames.items() if name in cameras and is_film(rows)}


def _count(job: Job, name: str) -> int:
    array = job.arrays.get(name)
    return 0 if array is None or not array.ndim else len(array)


def _in_steps(ticks: NDArray[np.float32], pace: Fraction, count: int) -> NDArray[np.float32]:
    """Return the first steps, of `pace` ticks each, of rows at ticks (n, 14)."""
    return resample(ticks.astype(np.float64), pace, count).astype(np.float32)


def _numbers(job: Job, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    array = job.arrays.get(name)
    if array is None:
        if 0 in shape:
            return np.zeros(shape, np.float32)
        raise wire.WireError(f"array {name!r} is missing")
    if array.dtype.str[1:] != "f4" or array.shape != shape:
        raise wire.WireError(f"array {name!r} is {array.dtype.str[1:]} {array.shape}; f4 {shape} is wanted")
    if not np.isfinite(array).all():
        raise wire.WireError(f"array {name!r} holds NaN or infinity")
    return array


def _picture(job: Job, name: str) -> NDArray[Any]:
    return _pictures(job, name, None)


def _pictures(job: Job, name: str, count: int | None) -> NDArray[Any]:
    array = job.arrays.get(name)
    lead = () if count is None else (count,)
    if array is None:
        raise wire.WireError(f"array {name!r} is missing")
    right = array.ndim == 3 + len(lead) and array.shape[-1] == 3 and array.shape[: len(lead)] == lead
    if array.dtype != np.uint8 or not right or 0 in array.shape[len(lead) :]:
        wanted = f"u1 ({'' if count is None else f'{count}, '}height, width, 3)"
        raise wire.WireError(f"array {name!r} is {array.dtype.str[1:]} {array.shape}; {wanted} is wanted")
    return array
