"""The client's connection to its policy server: handshake, loss within milliseconds, and reconnection.

Nothing here waits but `wait`. A lost connection is opened anew after 50 ms, then twice as long each time up to
1 s; a refusal is final, and so is a server that comes back with another schema.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import zmq
from numpy.typing import NDArray
from zmq.utils.monitor import parse_monitor_message

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.inference import wire
from runtime.inference.client.carrier import Carrier, carriage_of
from runtime.inference.client.gallery import Gallery, rows_for
from runtime.inference.fit import RefusalError, check_fit
from runtime.net.frames import Buffer
from runtime.net.keys import ClientKeys, shut_out
from runtime.net.lane import Lane, LaneClosedError
from runtime.net.sockets import check_endpoint, make_dealer, readable, receive
from runtime.notices import Notices
from runtime.states import Carriage, Link

BACKOFF_MIN_NS: Final = 50 * NS_PER_MS
BACKOFF_MAX_NS: Final = 1 * NS_PER_S
HANDSHAKE_NS: Final = 2 * NS_PER_S
PING_NS: Final = 1 * NS_PER_S
SILENCE_NS: Final = 3 * NS_PER_S
CORRUPT_MAX: Final = 3
MESSAGES_PER_STEP: Final = 16
_LOST_EVENTS: Final = (
    zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

Inbound = tuple[wire.Message | None, wire.ArrayMap]
"""A message of the session, or None for one that could not be understood."""


class Connection:
    """One session with the server at `endpoint`, kept open.

    `link` is its state, `text` why it is refused or lost, `schema` what was agreed at the last handshake; `gallery` is,
    from the first one on, where the pictures of its cameras are to be kept. How pictures go is chosen before a session
    is READY; `endpoint` may end in `?pictures=raw|shm|jpeg`. Raises UsageError when it is none.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        rig: wire.RigSchema,
        task: str,
        prompt: str = "",
        keys: ClientKeys | None = None,
    ) -> None:
        self._context = context
        self._keys = keys
        address, self._forced = carriage_of(endpoint)
        self._endpoint = check_endpoint(address, bind=False)
        self._hello = wire.Hello(client=uuid.uuid4().hex, rig=rig, task=task, prompt=prompt)
        self.link = Link.CONNECTING
        self.text = f"connecting to {endpoint}"
        self.schema: wire.Schema | None = None
        self.gallery: Gallery | None = None
        self.session = ""
        self.reconnects = 0
        self.notices = Notices()
        self._dealer: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._backoff_ns = BACKOFF_MIN_NS
        self._retry_ns = 0
        self._opened_ns = 0
        self._heard_ns = 0
        self._pinged_ns = 0
        self._corrupt = 0
        self._carrier: Carrier | None = None
        self._gave_way = False

    @property
    def carriage(self) -> Carriage:
        """How pictures go to the server."""
        return Carriage.NONE if self._carrier is None else self._carrier.carriage

    @property
    def pictures(self) -> str:
        """The same in words, with the reason; empty without a session or pictures."""
        return "" if self._carrier is None else self._carrier.text

    def step(self, now_ns: int) -> list[Inbound]:
        """Advance the handshake, keep the session alive and return what came for it since the last call."""
        if self.link is Link.REFUSED:
            return []
        if self._dealer is None:
            if now_ns >= self._retry_ns:
                self._open(now_ns)
            return []
        inbound = self._read(now_ns)
        torn = self._torn()
        if torn:
            self.drop(now_ns, torn)
        self._prepare(now_ns)
        self._keep_alive(now_ns)
        return inbound

    def send(self, message: wire.Message, arrays: Mapping[str, NDArray[Any]], now_ns: int) -> bool:
        """Send to the server without waiting; False, and the connection dropped, when it takes no more."""
        return self.put(self.pack(message, arrays, now_ns), now_ns)

    def pack(self, message: wire.Message, arrays: Mapping[str, NDArray[Any]], now_ns: int) -> list[Buffer]:
        """Return a message as it travels, its pictures as was chosen; `put` sends it."""
        if isinstance(message, wire.Infer) and self._carrier is not None:
            message, arrays = self._carrier.pack(message, dict(arrays), now_ns)
        return wire.encode(message, arrays)

    def put(self, frames: list[Buffer], now_ns: int) -> bool:
        """Send a message that was packed; as `send`."""
        if self._dealer is None:
            return False
        if self._lane is not None and self._lane.send(frames):
            return True
        try:
            self._dealer.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self.drop(now_ns, self._torn() or f"{self._endpoint} takes no more messages")
            return False
        return True

    def drop(self, now_ns: int, reason: str) -> None:
        """Close the session and open another after the backoff."""
        # A link may take a small load and choke on the next: it would be lost at every connection.
        if self._carrier is not None:
            self._gave_way |= self._carrier.measuring
        self._close_sockets()
        self.link = Link.LOST if self.schema is not None else Link.CONNECTING
        self.text = reason
        self.session = ""
        self._retry_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, BACKOFF_MAX_NS)

    def wait(self, timeout_ms: int) -> None:
        """Return when something came or after the time, whichever is first."""
        poller = zmq.Poller()
        for link in (self._dealer, self._monitor):
            if link is not None:
                poller.register(link, zmq.POLLIN)
        waited = None if self._carrier is None else self._carrier.fileno()
        if waited is not None:
            poller.register(waited, zmq.POLLIN)
        poller.poll(timeout_ms)

    def close(self) -> None:
        """Close the sockets, and the gallery, for good."""
        self._close_sockets()
        if self.gallery is not None:
            self.gallery.close()
            self.gallery = None

    def _open(self, now_ns: int) -> None:
        self._dealer = make_dealer(self._context, self._endpoint, self._keys)
        self._monitor = self._dealer.get_monitor_socket(_LOST_EVENTS)
        # Only now: a server that shuts this client out may do so before the next line.
        self._dealer.connect(self._endpoint)
        self._opened_ns = self._heard_ns = self._pinged_ns = now_ns
        self._corrupt = 0
        self.reconnects += self.schema is not None
        self.send(self._hello, {}, now_ns)

    def _prepare(self, now_ns: int) -> None:
        """Go on with the choice of how pictures go; the session is READY when it is made."""
        carrier = self._carrier
        if carrier is None or self.link is Link.READY:
            return
        ping = carrier.step(now_ns)
        if ping is not None:
            self.send(*ping, now_ns)
        elif carrier.ready:
            self.link = Link.READY
            self.text = ""
            self._backoff_ns = BACKOFF_MIN_NS

    def _keep_alive(self, now_ns: int) -> None:
        if self._dealer is None:
            return
        if self.link is Link.READY:
            if now_ns - self._heard_ns > SILENCE_NS:
                self.notices.note("server_silent", now_ns)
                self.drop(now_ns, f"{self._endpoint} is silent")
            elif now_ns - self._pinged_ns > PING_NS:
                self._pinged_ns = now_ns
                self.send(wire.Ping(session=self.session), {}, now_ns)
        elif now_ns - self._opened_ns > HANDSHAKE_NS:
            self.drop(now_ns, f"{self._endpoint} does not answer the handshake")

    @property
    def _lane(self) -> Lane | None:
        return None if self._carrier is None else self._carrier.lane

    def _received(self, now_ns: int) -> list[Buffer] | None:
        """Return the frames of the next message, whichever way it came."""
        try:
            frames = None if self._lane is None else self._lane.receive()
        except LaneClosedError:
            self.drop(now_ns, f"lost the connection to {self._endpoint}")
            return None
        if frames is not None or self._dealer is None:
            return frames
        received = receive(self._dealer, identified=False)
        return None if received is None else received[1]

    def _read(self, now_ns: int) -> list[Inbound]:
        inbound: list[Inbound] = []
        for _ in range(MESSAGES_PER_STEP):
            frames = self._received(now_ns)
            if frames is None:
                break
            self._heard_ns = now_ns
            try:
                message, arrays = wire.decode(frames)
            except wire.WireError as error:
                self._corrupt += 1
                inbound.append((None, {}))
                self.notices.note("packet_corrupt", now_ns)
                if self._corrupt >= CORRUPT_MAX:
                    self.notices.note("packets_corrupt", now_ns)
                    self.drop(now_ns, f"{CORRUPT_MAX} messages in a row were not understood: {error}")
                elif not self.session:
                    self.drop(now_ns, f"{self._endpoint} answers the handshake with what is not understood: {error}")
                continue
            if not isinstance(message, wire.Pong):
                # Short messages may come whole where long ones do not.
                self._corrupt = 0
            if isinstance(message, wire.Welcome):
                self._agree(message, now_ns)
            elif isinstance(message, wire.Pong) and self._carrier is not None:
                self._carrier.heard(now_ns)
            elif isinstance(message, wire.Refused):
                self.refuse(message.reason)
            elif isinstance(message, wire.Error) and message.code == "no_session":
                self.drop(now_ns, f"{self._endpoint} does not know this session any more")
            elif isinstance(message, wire.Error) and self.link is not Link.READY:
                self.drop(now_ns, f"{self._endpoint}: {message.reason}")
            elif self.link is Link.READY and not isinstance(message, wire.Pong):
                if self._carrier is not None:
                    self._carrier.answered(message)
                inbound.append((message, arrays))
        return inbound

    def _agree(self, welcome: wire.Welcome, now_ns: int) -> None:
        try:
            check_fit(welcome.schema, self._hello.rig)
            if self.schema is not None and _lasting(welcome.schema) != _lasting(self.schema):
                raise RefusalError(f"{self._endpoint} came back with another policy or schema; start a new run")
        except RefusalError as refusal:
            self.refuse(str(refusal))
            return
        self.schema = welcome.schema
        self.session = welcome.session
        self._end_carrier()
        sizes = {name: self._hello.rig.cameras[name] for name in welcome.schema.cameras}
        if self.gallery is None:
            self.gallery = Gallery(sizes, rows_for(welcome.schema.concurrency))
        self._carrier = Carrier(
            welcome, sizes, self.gallery, self._endpoint, self._forced, now_ns, gave_way=self._gave_way
        )
        self._prepare(now_ns)

    def refuse(self, reason: str) -> None:
        """End the connection for good: trying again would not help."""
        self._close_sockets()
        self.link = Link.REFUSED
        self.text = reason

    def _torn(self) -> str:
        """Return why the connection has ended, "" while it stands."""
        events = 0
        while self._monitor is not None and readable(self._monitor):
            events |= parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"] & _LOST_EVENTS
        if not events:
            return ""
        lost = f"cannot reach {self._endpoint}; is its server running?"
        if self.schema is not None:
            lost = f"lost the connection to {self._endpoint}"
        return shut_out(events, self._endpoint, self._keys) or lost

    def _end_carrier(self) -> None:
        if self._carrier is not None:
            self._carrier.close()
        self._carrier = None

    def _close_sockets(self) -> None:
        self._end_carrier()
        if self._dealer is not None:
            self._dealer.disable_monitor()
            self._dealer.close()
        if self._monitor is not None:
            self._monitor.close()
        self._dealer = self._monitor = None


def _lasting(schema: wire.Schema) -> wire.Schema:
    return msgspec.structs.replace(schema, latency_ms=0.0)
