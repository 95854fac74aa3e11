"""The client process: observations and committed prefixes out, chunks in. It waits for nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import zmq
from numpy.typing import NDArray

from runtime.board import Board, Heart
from runtime.clock import NS_PER_MS, Clock
from runtime.errors import UsageError
from runtime.inference import wire
from runtime.inference.client.ask import Ask, Outcome
from runtime.inference.client.connection import Connection
from runtime.inference.client.core import ClientCore
from runtime.inference.client.corrector import Amender, OnnxCorrector, is_worth_it
from runtime.inference.client.executed import ExecutedLog
from runtime.inference.client.gallery import Gallery
from runtime.inference.client.observation import Observation, ObservationError
from runtime.inference.client.request import request_of
from runtime.inference.client.sensors import Sensors
from runtime.inference.foresight import Expected, Foresight, Trust, expect, picture_records, record_of
from runtime.inference.handshake import rig_schema
from runtime.net.frames import Buffer
from runtime.net.keys import ClientKeys
from runtime.shm import TornReadError
from runtime.states import Link, Verdict

BEAT_NS: Final = 100 * NS_PER_MS
STATUS_NS: Final = 10 * NS_PER_MS
IDLE_MS: Final = 10
ASKING_MS: Final = 3
SEED_RANGE: Final = 2**63
FRAME: Final = "frame/"


class Client:
    """Joins the board, the connection and the decisions; one `turn` a few milliseconds."""

    def __init__(self, board: Board, clock: Clock, connection: Connection) -> None:
        spec = board.spec
        self._board = board
        self._clock = clock
        self._connection = connection
        self._deadline_ms = spec.rig.request_deadline_ms
        self._base = spec.tick_base(board.t0_ns)
        self._core = ClientCore(
            self._base,
            spec.merge,
            round(self._deadline_ms * NS_PER_MS),
            allow_slow=spec.allow_slow,
            chunks=board["chunk"].head,
            # One may have been under way when an earlier client ended.
            requests=board["request"].head + 1,
        )
        self._sensors: Sensors | None = None
        self._amender: Amender | None = None
        self._executed: ExecutedLog | None = None
        self._command_cursor = board["joint_command"].head
        self._view: NDArray[Any] | None = None
        self._status_ns = 0
        self._told = Link.CONNECTING
        self._note = ""
        self._foresight = Foresight()
        self._cameras = tuple(spec.rig.cameras)

    def turn(self) -> None:
        """Take what came, ask if it is time, and say how things stand. Never waits."""
        now_ns = self._clock.now_ns()
        self._look()
        self._amend(now_ns)
        self._remember(now_ns)
        self._compare(now_ns)
        self._core.watch(now_ns)
        self._abandon(now_ns)
        self._receive(now_ns)
        if self._connection.link is Link.READY:
            self._ask()
        self._report()

    def wait(self) -> None:
        """Wait for the server's next message, or until it is time to look again."""
        asking = self._view is not None and bool(self._view["engaged"]) and not self._core.in_flight
        self._connection.wait(ASKING_MS if asking or self._amender is not None else IDLE_MS)

    def _look(self) -> None:
        try:
            view = self._board["timeline"].latest()
        except TornReadError:
            return
        if view is not None:
            if self._view is not None and view["epoch"] != self._view["epoch"]:
                self._foresight.open()
                if self._executed is not None:
                    self._executed.begin()
            self._view = view
            self._core.follow(view)

    def _abandon(self, now_ns: int) -> None:
        """Give up what an epoch that is over still waits for, here and at the server."""
        given_up = self._core.abandon(now_ns)
        self._publish(*given_up)
        requests = [outcome.request for outcome in given_up if outcome.request is not None]
        for request in requests if self._connection.link is Link.READY else ():
            seq = int(request["request_seq"])
            self._connection.send(wire.Cancel(session=self._connection.session, request_seq=seq), {}, now_ns)

    def _amend(self, now_ns: int) -> None:
        """Put the plan's next actions right by what is seen now, once the arms have reported this tick."""
        view, sensors, amender = self._view, self._sensors, self._amender
        if view is None or sensors is None or amender is None:
            return
        moment_ns = amender.moment_ns(view, now_ns)
        if moment_ns is None:
            return
        try:
            made = amender.amend(view, sensors.glance(moment_ns), now_ns)
        except ObservationError:
            return
        if made is not None:
            self._board["amendment"].push(made)

    def _remember(self, now_ns: int) -> None:
        """Keep what is done and seen, for a policy that is to be told of it."""
        log, sensors = self._executed, self._sensors
        if log is None or sensors is None:
            return
        commands, self._command_cursor, _ = self._board["joint_command"].since(self._command_cursor)
        for command in commands:
            log.note(command)
        if not log.wants_view(self._base.tick(now_ns)):
            return
        try:
            alignment = sensors.align(now_ns)
            tick = self._base.tick(alignment.t_obs_ns) + 1
            if log.wants_view(tick):
                log.see(tick, sensors.observe(alignment))
        except ObservationError as error:
            self._note = str(error)

    def _receive(self, now_ns: int) -> None:
        connection, core = self._connection, self._core
        for message, arrays in connection.step(now_ns):
            outcomes = core.answer(message, arrays, now_ns)
            frames = {name.removeprefix(FRAME): rows for name, rows in arrays.items() if name.startswith(FRAME)}
            expected = None
            # A part that is not taken is no stray answer: its whole is still awaited.
            if isinstance(message, wire.Chunk) and (message.final or outcomes):
                expected = self._look_at(outcomes, frames, now_ns)
            self._publish(*outcomes)
            # After the actions: they are not to wait for megabytes of pictures.
            if expected is not None:
                for record in picture_records(expected, frames, self._cameras, now_ns):
                    self._board["foreseen_picture"].push(record)
        late = core.expire(now_ns)
        if late:
            self._publish(*late)
            connection.notices.note("answer_overdue", now_ns)
            connection.drop(now_ns, f"no answer in {self._deadline_ms:.0f} ms")
        if connection.link is not Link.READY:
            self._publish(*core.lose(now_ns))
            if self._executed is not None:
                self._executed.lost()
        elif self._sensors is None and connection.schema is not None and connection.gallery is not None:
            self._open(connection.schema, connection.gallery)

    def _look_at(self, outcomes: list[Outcome], frames: wire.ArrayMap, now_ns: int) -> Expected | None:
        """Note what is wrong with an answer; return what its policy foresees where it is used."""
        if not outcomes:
            self._connection.notices.note("answer_stray", now_ns)
            return None
        answer = outcomes[-1]
        if answer.request is None:
            return None
        if answer.request["verdict"] == Verdict.INVALID:
            self._connection.notices.note("answer_invalid", now_ns)
        if answer.chunk is None:
            return None
        first_tick, chunk_id = int(answer.chunk["start_tick"]), int(answer.chunk["chunk_id"])
        halts_after = int(answer.chunk["horizon"]) if answer.chunk["halts"] else None
        expected = expect(chunk_id, first_tick, self._core.chunk_ticks, frames, halts_after=halts_after)
        self._foresight.follow(expected)
        if expected is not None:
            answer.request["foreseen"] = len(expected.ticks)
            self._board["foreseen"].push(record_of(expected, self._cameras, now_ns))
        return expected

    def _watch_cameras(self, now_ns: int) -> None:
        """Look at the cameras more often than a chunk is asked for."""
        for fault in () if self._sensors is None else self._sensors.look(now_ns):
            self._connection.notices.note(fault, now_ns)

    def _tell(self, error: ObservationError, now_ns: int) -> None:
        self._note = str(error)
        if error.fault:
            self._connection.notices.note(error.fault, now_ns)

    def _compare(self, now_ns: int) -> None:
        """Hold what the policy foresaw against what the cameras see."""
        tick, sensors = self._base.tick(now_ns), self._sensors
        if sensors is not None and self._foresight.due(tick):
            try:
                alignment = sensors.align(now_ns)
                seen_tick = self._base.tick(alignment.t_obs_ns)
                if self._foresight.due(seen_tick):
                    self._foresight.see(seen_tick, sensors.observe(alignment).images)
            except ObservationError as error:
                self._note = str(error)
        # Also where nothing is due: a new epoch begins with full trust.
        self._core.near = self._foresight.trust is not Trust.FULL

    def _open(self, schema: wire.Schema, gallery: Gallery) -> None:
        try:
            self._core.open(schema)
        except UsageError as error:
            self._connection.refuse(str(error))
            return
        self._sensors = Sensors(self._board, schema, gallery)
        corrector = self._board.spec.corrector
        if corrector and is_worth_it(schema, self._core.pacing.stretch):
            self._amender = Amender(self._base, OnnxCorrector(Path(corrector), schema.object_state))
        if schema.stateful:
            self._executed = ExecutedLog(self._base, schema.key_every)

    def _ask(self) -> None:
        view, sensors, now_ns = self._view, self._sensors, self._clock.now_ns()
        if view is None or sensors is None or not self._core.wants(view, now_ns):
            return
        try:
            alignment = sensors.align(now_ns)
            ask = self._core.plan(view, alignment.t_obs_ns, now_ns)
            observation = None if ask is None else sensors.observe(alignment)
        except ObservationError as error:
            self._tell(error, now_ns)
            return
        self._note = ""
        if ask is None or observation is None:
            return
        try:
            frames = self._packed(ask, observation, now_ns)
        except wire.WireError as error:
            self._note = str(error)
            return
        # Before it is sent: the server may be at work on it before this process goes on.
        t_sent_ns = self._clock.now_ns()
        if self._connection.put(frames, now_ns):
            self._core.sent(ask, t_frame_ns=observation.t_frame_ns, t_sent_ns=t_sent_ns)

    def _packed(self, ask: Ask, observation: Observation, now_ns: int) -> list[Buffer]:
        executed_tick, told = (0, {}) if self._executed is None else self._executed.until(ask.obs_tick)
        request, arrays = request_of(
            ask,
            observation,
            self._core.pacing,
            session=self._connection.session,
            episode=self._core.episode,
            seed=self._board.spec.seed % SEED_RANGE,
            deadline_ms=self._deadline_ms,
            executed_tick=executed_tick,
        )
        return self._connection.pack(request, arrays | told, now_ns)

    def _publish(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            if outcome.chunk is not None:
                self._board["chunk"].push(outcome.chunk)
            if outcome.request is None:
                continue
            if self._executed is not None and outcome.chunk is not None:
                self._executed.told(int(outcome.request["obs_tick"]))
            elif self._executed is not None and outcome.request["verdict"] == Verdict.ERROR:
                self._executed.lost()
            outcome.request["trust"] = self._foresight.trust
            outcome.request["parted"] = self._foresight.difference
            self._board["request"].push(outcome.request)

    def _report(self) -> None:
        now_ns, connection = self._clock.now_ns(), self._connection
        if now_ns - self._status_ns < STATUS_NS and connection.link is self._told:
            return
        self._watch_cameras(now_ns)
        self._status_ns, self._told = now_ns, connection.link
        if self._foresight.trust is not Trust.FULL:
            connection.notices.note("foresight_parts", now_ns)
        text = connection.text or self._note or "; ".join(filter(None, (self._core.text, connection.pictures)))
        status: Any = self._core.status(now_ns, connection.link, text, connection.reconnects)
        status["pictures"] = connection.carriage
        status["faults"] = connection.notices.bits(now_ns)
        status["distrusted"] = self._foresight.trust is Trust.NONE
        self._board["client"].push(status)


def run_client(board: Board, clock: Clock, heart: Heart) -> None:
    """Main of the client process; ready at once, whether or not the server is there yet."""
    spec = board.spec
    keys = ClientKeys.load(Path(spec.keys)) if spec.keys else None
    with zmq.Context() as context:
        connection = Connection(context, spec.endpoint, rig_schema(spec.rig), spec.task, spec.prompt, keys)
        client = Client(board, clock, connection)
        beaten_ns = 0
        try:
            while not board.stopping:
                now_ns = clock.now_ns()
                if now_ns - beaten_ns >= BEAT_NS:
                    beaten_ns = now_ns
                    heart.beat(now_ns)
                client.turn()
                client.wait()
        finally:
            connection.close()
