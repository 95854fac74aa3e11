"""A policy server: one ROUTER socket, sessions under an agreed schema, one model that the thread of a request runs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

import zmq

from runtime.clock import Clock, MonotonicClock
from runtime.inference import jpeg, wire
from runtime.inference.door import Door, door_for
from runtime.inference.fit import RefusalError
from runtime.inference.region import Region
from runtime.inference.server.latency import LatencyModel, parse_latency
from runtime.inference.server.mail import Mail
from runtime.inference.server.refusals import expired, no_place, no_session, superseded
from runtime.inference.server.relief import Relief
from runtime.inference.server.served import Load, Served
from runtime.inference.server.session import CLIENTS_MAX, Job, SessionTable
from runtime.inference.server.worker import Reply, Worker
from runtime.net.frames import Buffer
from runtime.net.keys import ServerKeys, admission
from runtime.net.sockets import open_router

DECODES: Final = ("jpeg", "jpeg-key")


class PolicyServer:
    """Serves a warmed-up model on a bound socket until told to stop.

    All times are this host's monotonic clock and leave it only as durations. With a `door` clients of this host may
    share their pictures' memory.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        served: Served,
        latency: LatencyModel,
        *,
        seed: int = 0,
        clock: Clock,
        door: Door | None = None,
    ) -> None:
        self._served = served
        self._clock = clock
        self._door = door
        self._sessions = SessionTable(served.places or CLIENTS_MAX)
        self._mail = Mail(router, self._sessions, self._answer, door=door)
        self._worker = Worker(served, latency, seed=seed, clock=clock, early=self._send_early)
        self._relief = Relief(self._relieve)
        self._stop: Callable[[], bool] = lambda: False
        self._on_turn: Callable[[], None] | None = None

    def run(self, stop: Callable[[], bool], on_turn: Callable[[], None] | None = None) -> None:
        """Serve until `stop` says so; `on_turn` is called at least every `mail.POLL_MS`, by one thread at a time."""
        self._stop, self._on_turn = stop, on_turn
        self._relief.start()
        try:
            while not stop():
                self._mail.turn(lambda: self._sessions.waits, None, on_turn)
                self._work_off()
        finally:
            self._relief.stop()
            self._mail.close_lanes()

    def _work_off(self) -> None:
        """Answer what waits."""
        while not self._stop() and (job := self._take(self._clock.now_ns())) is not None:
            with self._relief.duty():
                reply = self._worker.work(job)
                if reply is not None:
                    self._mail.send(*reply)

    def _relieve(self) -> None:
        if self._stop():
            self._worker.stop()
        self._mail.turn(lambda: not self._relief.on_duty, self._relief, self._on_turn)

    def _answer(self, sender: bytes, frames: list[Buffer]) -> list[Buffer] | None:
        now_ns = self._clock.now_ns()
        try:
            message, arrays = wire.decode(frames)
        except wire.WireError as error:
            reply: wire.Message | None = wire.Error(code="bad_request", reason=str(error))
        else:
            reply = self._handle(sender, message, arrays, now_ns)
        return None if reply is None else wire.encode(reply)

    def _handle(self, sender: bytes, message: wire.Message, arrays: wire.ArrayMap, now_ns: int) -> wire.Message | None:
        if isinstance(message, wire.Hello):
            return self._open(sender, message, now_ns)
        if isinstance(message, wire.Infer):
            return self._queue(sender, message, arrays, now_ns)
        if isinstance(message, wire.Cancel):
            if self._sessions.find(sender, message.session, now_ns) is not None:
                self._sessions.cancel(sender, message.request_seq)
                self._worker.cancel(sender, message.request_seq)
            return None
        if isinstance(message, wire.Ping):
            session = self._sessions.find(sender, message.session, now_ns)
            return no_session() if session is None else wire.Pong(session=message.session)
        return wire.Error(code="bad_request", reason="a server takes hello, infer, cancel and ping")

    def _open(self, sender: bytes, hello: wire.Hello, now_ns: int) -> wire.Message:
        try:
            schema = self._served.agree(hello)
        except RefusalError as refusal:
            return wire.Refused(reason=str(refusal)[: wire.REASON_CHARS_MAX])
        session = self._sessions.open(sender, hello, schema, now_ns)
        if session is None:
            return no_place()
        return wire.Welcome(
            session=session.name,
            schema=schema,
            door="" if self._door is None else self._door.name,
            secret="" if self._door is None else session.secret,
            decodes=DECODES if jpeg.INSTALLED else (),
        )

    def _queue(self, sender: bytes, request: wire.Infer, arrays: wire.ArrayMap, now_ns: int) -> wire.Message | None:
        session = self._sessions.find(sender, request.session, now_ns)
        if session is None:
            return no_session(request.request_seq)
        if request.shared:
            try:
                arrays = arrays | _shared(session.region, request.shared)
            except wire.WireError as error:
                return wire.Error(code="bad_request", reason=str(error), request_seq=request.request_seq)
        job = Job(sender, request, arrays, session.hello, session.schema, now_ns)
        older = self._sessions.put(job)
        return None if older is None else superseded(older)

    def _take(self, now_ns: int) -> Job | None:
        job, late = self._sessions.take(now_ns)
        for each in late:
            self._mail.send(each.sender, wire.encode(expired(each)))
        return job

    def _send_early(self, reply: Reply) -> None:
        self._mail.send(*reply)
        # To send may take note of what came: the thread that waits for that is to look.
        self._relief.kick()


def _shared(region: Region | None, places: tuple[wire.ArrayPlace, ...]) -> wire.ArrayMap:
    if region is None:
        raise wire.WireError("pictures in shared memory, and none was handed over for this session")
    # Whoever shares it may write while it is read: to pixels that does nothing, but numbers and files were checked.
    others = [place.name for place in places if not place.name.startswith(jpeg.IMAGE)]
    if others:
        raise wire.WireError(f"array {others[0]!r} in shared memory; {jpeg.IMAGE}CAMERA may lie there, nothing else")
    return region.views(places)


def serve_model(
    load: Load,
    *,
    bind: str,
    latency: str = "none",
    seed: int = 0,
    keys: ServerKeys | None = None,
    insecure: bool = False,
    clock: Clock | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_ready: Callable[[str], None] | None = None,
    on_turn: Callable[[], None] | None = None,
) -> None:
    """Load and warm up what is served, and serve it until `stop`.

    The address is taken before the models load, so that one in use is said at once; clients are answered from
    `on_ready(line)` on, which says the address (a port given as `*` is chosen by the system), the model's time
    and the latency clients are told to expect, the larger of that and the profile's median. `on_turn` is called
    at least every 20 ms from then on. Ends by `stop` or KeyboardInterrupt. With `keys` only their clients may
    connect, and any address may be bound; without, one that other hosts reach only if told to be `insecure`.

    The calling thread loads and runs the model. What there is once it is warm the garbage collector looks at no more.

    Raises:
        UsageError: the latency profile is unknown, the endpoint may not be bound, or `load` says so.
        LeadtimeError: the endpoint is in use, or `load` says so.
    """
    profile = parse_latency(latency)
    with (
        zmq.Context() as context,
        admission(context, keys),
        open_router(context, bind, keys, insecure=insecure) as router,
        door_for(bind) as door,
    ):
        served = load(profile.median_ms)
        gc.collect()
        gc.freeze()
        try:
            server = PolicyServer(router, served, profile, seed=seed, clock=clock or MonotonicClock(), door=door)
            if on_ready is not None:
                endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
                on_ready(
                    f"serving {served.name} on {endpoint} : {served.about}, "
                    f"answers in {served.latency_ms:.0f} ms (latency {latency})"
                )
            server.run(stop, on_turn)
        finally:
            served.close()
