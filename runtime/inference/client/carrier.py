"""How a rig's pictures go to its server, chosen anew at each connection: shared memory, as they are, or as JPEG.

Shared memory where the server is on this host. Otherwise the link is measured with pings that carry nothing, then
little, then as much as half a picture, and they go as JPEG where coding, sending and decoding them would take clearly
less time than sending them as they are. A server that knows of neither gets them as they are. Nothing here waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.errors import UsageError
from runtime.inference import jpeg, wire
from runtime.inference.client.gallery import Gallery
from runtime.inference.door import Knock
from runtime.inference.region import REGION_BYTES_MAX
from runtime.net.lane import Lane, new_pair
from runtime.net.sockets import of_this_host
from runtime.states import Carriage

FORCED: Final = {"raw": Carriage.RAW, "shm": Carriage.SHARED, "jpeg": Carriage.JPEG}
QUERY: Final = "pictures"
DOOR_NS: Final = 200 * NS_PER_MS
"""How long a server may take to say whether it takes the memory."""
PROBE_BYTES: Final = 512 * 1024
FIRST_PROBE_BYTES: Final = 32 * 1024
LOADS_BYTES: Final = (0, 0, 0, FIRST_PROBE_BYTES, PROBE_BYTES, PROBE_BYTES, PROBE_BYTES)
"""What the pings of a measurement carry, in their order."""
LOAD_ROW_BYTES: Final = 4096
SLOW_NS: Final = 50 * NS_PER_MS
"""A load that takes so much longer than none is the last.

After a first one in less than that the next, 16 times its size, takes less than 0.8 s: the sockets give a connection up
on which no frame came to its end for 1.5 s (runtime.net.sockets).
"""
MEASURE_NS: Final = 1 * NS_PER_S
"""A link on which all this takes longer is slow, whatever its rate."""
CLEARLY: Final = 0.75
TRIALS: Final = 3
TRIAL_NOISE: Final = 4


def carriage_of(endpoint: str) -> tuple[str, Carriage]:
    """Return an endpoint without its `?pictures=raw|shm|jpeg` and what that asks for, NONE without one.

    Raises:
        UsageError: it asks for something else.
    """
    address, _, query = endpoint.partition("?")
    if not query:
        return address, Carriage.NONE
    key, _, value = query.partition("=")
    if key != QUERY or value not in FORCED:
        raise UsageError(f"endpoint {endpoint!r}: after ? goes {QUERY}= with one of {', '.join(FORCED)}")
    return address, FORCED[value]


@dataclass
class LinkRate:
    """What pings tell of a link: how long they took, ns, those with the first of `LOADS_BYTES`."""

    took_ns: list[int] = field(default_factory=list)

    @property
    def round_trip_ns(self) -> int:
        """There and back with next to nothing."""
        return self._least_ns(0)

    @property
    def ns_per_byte(self) -> float:
        """What a byte more takes, by the largest load that was carried."""
        load_bytes = LOADS_BYTES[len(self.took_ns) - 1]
        return max(self._least_ns(load_bytes) - self.round_trip_ns, 1) / load_bytes

    def _least_ns(self, load_bytes: int) -> int:
        pings = zip(LOADS_BYTES, self.took_ns, strict=False)
        return min(took_ns for load, took_ns in pings if load == load_bytes)


@dataclass(frozen=True)
class Held:
    """The pictures of a request under way, which stay where they are until it is answered or of no use any more."""

    pictures: wire.ArrayMap
    until_ns: int


@dataclass(frozen=True)
class Coding:
    """What JPEG of one picture takes on this host, coding and decoding, and how many of its bytes are left."""

    took_ns: int
    left: float

    def pays(self, link: LinkRate, sizes_bytes: list[int]) -> bool:
        """Whether pictures of these sizes are there clearly sooner as JPEG."""
        raw_ns = sum(sizes_bytes) * link.ns_per_byte
        return len(sizes_bytes) * self.took_ns + self.left * raw_ns < CLEARLY * raw_ns


class Carrier:
    """The pictures of one session. `carriage` is how they go once `ready`, and `text` says so in words.

    `sizes` are the cameras' (width, height) in pixels by name, those that the policy reads; `gallery` is where the rig
    keeps their pictures. `gave_way`: an earlier connection was lost while its link was `measuring`; it is not again.
    """

    def __init__(
        self,
        welcome: wire.Welcome,
        sizes: Mapping[str, tuple[int, int]],
        gallery: Gallery,
        endpoint: str,
        forced: Carriage,
        now_ns: int,
        *,
        gave_way: bool = False,
    ) -> None:
        self.carriage = Carriage.RAW if sizes else Carriage.NONE
        self.text = "pictures as they are" if sizes else ""
        self.ready = False
        self._gallery = gallery
        self._held: dict[int, Held] = {}
        self._largest = max(sizes.values(), default=(0, 0))
        self._bytes = [width * height * 3 for width, height in sizes.values()]
        self._session = welcome.session
        self._begun_ns = self._asked_ns = now_ns
        self._coded = (jpeg.IMAGE, jpeg.KEY) if "jpeg-key" in welcome.decodes else (jpeg.IMAGE,)
        self._link = LinkRate()
        self._awaited = False
        self._knock: Knock | None = None
        self._lane: Lane | None = None
        decodes = jpeg.INSTALLED and "jpeg" in welcome.decodes
        if not sizes or forced is Carriage.RAW:
            self.ready = True
        elif forced is Carriage.JPEG:
            self._settle(Carriage.JPEG if decodes else Carriage.RAW, "as was asked" if decodes else _CANNOT)
        elif not self._hand_over(welcome, endpoint):
            # Of a link within the host nothing is measured: no coding is faster than its copies.
            measured = decodes and forced is Carriage.NONE and not endpoint.startswith("ipc://")
            self.ready = not measured
            if measured and gave_way:
                self._settle(Carriage.JPEG, "the link was lost while it was measured")
            elif forced is Carriage.SHARED:
                self._settle(Carriage.RAW, "the server cannot share memory with this host")

    @property
    def lane(self) -> Lane | None:
        """The way for short messages to a server that has taken this host's memory."""
        return self._lane if self.carriage is Carriage.SHARED else None

    @property
    def measuring(self) -> bool:
        """Whether pings load the link."""
        return not self.ready and self._knock is None

    def fileno(self) -> int | None:
        """What to wait on besides the connection, if anything."""
        waited = self._knock or self._lane
        return None if waited is None else waited.fileno()

    def step(self, now_ns: int) -> tuple[wire.Ping, wire.ArrayMap] | None:
        """Go on with the choice; returns a ping to be sent now, if one is."""
        if self.ready:
            return None
        if self._knock is not None:
            self._listen(self._knock, now_ns)
            return None
        if now_ns - self._begun_ns > MEASURE_NS:
            self._settle(Carriage.JPEG, f"measuring the link took more than {MEASURE_NS / NS_PER_S:.0f} s")
        elif not self._awaited:
            self._awaited, self._asked_ns = True, now_ns
            return wire.Ping(session=self._session), _load(LOADS_BYTES[len(self._link.took_ns)])
        return None

    def heard(self, now_ns: int) -> None:
        """Take note that a ping was answered."""
        if self.ready or not self._awaited:
            return
        self._awaited = False
        took_ns, link = now_ns - self._asked_ns, self._link
        loaded = LOADS_BYTES[len(link.took_ns)] > 0
        link.took_ns.append(took_ns)
        if len(link.took_ns) == len(LOADS_BYTES) or (loaded and took_ns - link.round_trip_ns > SLOW_NS):
            self._choose()

    def pack(
        self, request: wire.Infer, arrays: wire.ArrayMap, now_ns: int
    ) -> tuple[wire.Infer, Mapping[str, NDArray[Any]]]:
        """Return a request and its arrays as they travel."""
        if self.carriage not in {Carriage.SHARED, Carriage.JPEG}:
            return request, arrays
        forms = self._coded if self.carriage is Carriage.JPEG else (jpeg.IMAGE,)
        pictures = {name: array for name, array in arrays.items() if name.startswith(forms)}
        rest = {name: array for name, array in arrays.items() if name not in pictures}
        if self.carriage is Carriage.JPEG:
            return request, rest | jpeg.encode_pictures(pictures)
        self._held = {seq: held for seq, held in self._held.items() if held.until_ns > now_ns}
        places = self._gallery.places(pictures)
        if places is None:
            return request, arrays
        until_ns = now_ns + round(request.deadline_ms * NS_PER_MS)
        self._held[request.request_seq] = Held(pictures, until_ns)
        return msgspec.structs.replace(request, shared=places), rest

    def answered(self, message: wire.Message) -> None:
        """Let go of a request's pictures where a message is the last word on it."""
        match message:
            case wire.Chunk(final=False):
                # The model may still look at them.
                return
            case wire.Chunk() | wire.Superseded() | wire.Error():
                self._held.pop(message.request_seq, None)

    def close(self) -> None:
        """Let go of the server."""
        for way in (self._knock, self._lane):
            if way is not None:
                way.close()
        self._knock = self._lane = None
        self._held.clear()

    def _hand_over(self, welcome: wire.Welcome, endpoint: str) -> bool:
        if not welcome.door or not of_this_host(endpoint) or self._gallery.size_bytes > REGION_BYTES_MAX:
            return False
        try:
            self._lane, theirs = new_pair()
            try:
                self._knock = Knock(welcome.door, welcome.secret, self._gallery.fd, theirs)
            finally:
                os.close(theirs)
        except OSError:
            # The server is at the other end of a tunnel, or its door is beset.
            self.close()
            return False
        return True

    def _listen(self, knock: Knock, now_ns: int) -> None:
        taken = knock.answer()
        if taken is None and now_ns - self._begun_ns <= DOOR_NS:
            return
        if taken:
            knock.close()
            self._knock = None
            self._settle(Carriage.SHARED, "")
        else:
            self.close()
            self._settle(Carriage.RAW, "the server did not take this host's memory")

    def _choose(self) -> None:
        link = self._link
        coding = measure_coding(self._largest)
        way = Carriage.JPEG if coding.pays(link, self._bytes) else Carriage.RAW
        rate = 8e3 / link.ns_per_byte
        self._settle(way, f"link {rate:.0f} Mbit/s, {link.round_trip_ns / NS_PER_MS:.1f} ms there and back")

    def _settle(self, carriage: Carriage, why: str) -> None:
        self.carriage, self.ready = carriage, True
        self.text = f"pictures {_WORDS[carriage]}" + (f" ({why})" if why else "")


def measure_coding(size: tuple[int, int]) -> Coding:
    """Return what JPEG of a picture of (width, height) pixels takes on this host: shaded, with a sensor's grain."""
    width, height = size
    shade = np.linspace(40, 200, width, dtype=np.float32)[None, :, None]
    picture = (shade + _noise((height, width, 3)) % TRIAL_NOISE).astype(np.uint8)
    took_ns = []
    for _ in range(TRIALS):
        begun_ns = time.monotonic_ns()
        coded = jpeg.encode_pictures({f"{jpeg.IMAGE}x": picture})
        jpeg.decode_pictures(coded, ("x",))
        took_ns.append(time.monotonic_ns() - begun_ns)
    return Coding(min(took_ns), sum(rows.nbytes for rows in coded.values()) / picture.nbytes)


def _load(load_bytes: int) -> wire.ArrayMap:
    # Noise: a link that compresses must not look faster than it is for pictures.
    return {"probe": _noise((load_bytes // LOAD_ROW_BYTES, LOAD_ROW_BYTES))} if load_bytes else {}


def _noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


_WORDS: Final = {
    Carriage.NONE: "not sent",
    Carriage.RAW: "as they are",
    Carriage.SHARED: "in shared memory",
    Carriage.JPEG: "as JPEG",
}
_CANNOT: Final = "one side cannot do JPEG"
