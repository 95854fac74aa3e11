"""How pictures travel: chosen by what the link and the coding take, and no slot or descriptor harms the server."""

from __future__ import annotations

import fcntl
import io
import mmap
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.errors import UsageError
from runtime.inference import jpeg, wire
from runtime.inference.client.carrier import (
    DOOR_NS,
    FIRST_PROBE_BYTES,
    LOADS_BYTES,
    MEASURE_NS,
    PROBE_BYTES,
    Carrier,
    Coding,
    LinkRate,
    carriage_of,
)
from runtime.inference.client.gallery import Gallery
from runtime.inference.door import Door, Knock
from runtime.inference.handshake import policy_schema
from runtime.inference.policy import load_policy
from runtime.inference.region import Region, RegionError, stacked
from runtime.net.lane import Lane, LaneClosedError, new_pair
from runtime.net.sockets import HEARTBEAT_TIMEOUT_MS, of_this_host
from runtime.states import Carriage
from tests.process.serving import TINY

SIZES = {"left": (32, 24), "right": (32, 24)}
SECRET = "x" * 32
TCP = "tcp://192.0.2.1:8790"


def pictures(seed: int = 0) -> wire.ArrayMap:
    rng = np.random.default_rng(seed)
    shades = rng.integers(40, 200, (2, 1, 1, 3), dtype=np.uint8)
    whole = np.broadcast_to(shades, (2, 24, 32, 3))
    return {f"image/{name}": whole[i] for i, name in enumerate(SIZES)}


def gallery() -> Gallery:
    return Gallery(SIZES, 1)


def welcome(**more: object) -> wire.Welcome:
    schema = policy_schema(load_policy(str(TINY)), "transfer", 0.0)
    return wire.Welcome(session="s1", schema=schema, **more)  # type: ignore[arg-type]


def test_memory_that_could_be_taken_away_is_refused_and_let_go() -> None:
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    unsealed = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, mmap.PAGESIZE)
    with pytest.raises(RegionError, match="not sealed"):
        Region(unsealed)
    with tempfile.TemporaryFile() as file, pytest.raises(RegionError):
        Region(os.dup(file.fileno()))
    empty = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(empty, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with pytest.raises(RegionError, match="0 bytes"):
        Region(empty)
    reading, writing = os.pipe()
    with pytest.raises(RegionError):
        Region(reading)
    os.close(writing)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


@given(offset=st.integers(0, 2**63 - 1), rows=st.integers(0, 8192), columns=st.integers(0, 8192))
def test_no_place_reaches_beyond_the_memory(offset: int, rows: int, columns: int) -> None:
    kept = gallery()
    region = Region(os.dup(kept.fd))
    place = wire.ArrayPlace("image/left", (rows, columns, 3), offset)
    fits = offset + rows * columns * 3 <= os.fstat(kept.fd).st_size
    try:
        assert region.views((place,))["image/left"].shape == place.shape
        assert fits
    except wire.WireError:
        assert not fits
    kept.close()


def test_a_picture_that_comes_twice_is_refused() -> None:
    kept = gallery()
    region = Region(os.dup(kept.fd))
    place = wire.ArrayPlace("image/left", (1, 1, 3), 0)
    with pytest.raises(wire.WireError, match="twice"):
        region.views((place, place))
    kept.close()


def test_the_door_takes_memory_and_a_lane_under_the_right_secret_only() -> None:
    door, kept = Door(), gallery()
    taken: list[Lane] = []

    def take(secret: str, region: Region, lane: Lane) -> bool:
        if secret == SECRET:
            taken.append(lane)
        return secret == SECRET

    for secret, wanted in (("wrong", False), (SECRET, True)):
        lane, theirs = new_pair()
        knock = Knock(door.name, secret, kept.fd, theirs)
        os.close(theirs)
        assert knock.answer() is None
        door.answer(take)
        assert knock.answer() is wanted
        assert lane.send([b"there"]) is wanted
        knock.close()
        lane.close()
    assert taken[0].receive() == [b"there"]
    taken[0].close()
    with pytest.raises(OSError, match="refused"):
        Knock("leadtime-not-there", SECRET, kept.fd, kept.fd)
    door.close()
    kept.close()


def test_the_door_lets_go_of_what_is_no_memory_and_lane() -> None:
    door, kept = Door(), gallery()
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    lane, theirs = new_pair()
    stream, other = socket.socketpair()
    for handed in ([], [kept.fd], [theirs], [kept.fd, kept.fd], [theirs, theirs], [kept.fd, stream.fileno()]):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as knocker:
            knocker.bind("")
            knocker.connect(f"\0{door.name}")
            socket.send_fds(knocker, [SECRET.encode()], handed)
            door.answer(lambda *_: True)
            assert knocker.recv(16) == b"not taken"
    for held in (stream, other, lane):
        held.close()
    os.close(theirs)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files
    door.close()
    kept.close()


@pytest.mark.parametrize(
    ("endpoint", "here"),
    [
        ("ipc://@x", True),
        ("tcp://127.0.0.1:8790", True),
        ("tcp://[::1]:*", True),
        ("tcp://localhost:1", True),
        ("tcp://0.0.0.0:8790", False),
        ("tcp://192.0.2.1:8790", False),
    ],
)
def test_only_an_endpoint_of_this_host_has_a_door(endpoint: str, here: bool) -> None:
    assert of_this_host(endpoint) is here


def test_coding_does_not_wait_for_a_second_thread_that_gets_no_processor() -> None:
    held = threading.Event()
    busy = jpeg._HELPER.submit(held.wait)
    try:
        done = list(jpeg.decode_pictures(jpeg.encode_pictures(pictures()), SIZES))
        assert not busy.done()
    finally:
        held.set()
    assert done == list(pictures())


def test_jpeg_comes_back_as_nearly_the_same_pictures_in_one_buffer() -> None:
    arrays = jpeg.encode_pictures(pictures()) | {"state": np.zeros(14, np.float32)}
    opened = jpeg.decode_pictures(arrays, SIZES)
    assert opened.keys() == {"state", *pictures()}
    for name, picture in pictures().items():
        assert np.abs(opened[name].astype(int) - picture).max() < 6
    views = [opened[name] for name in pictures()]
    assert np.shares_memory(stacked(views), views[0])


@given(cut=st.integers(0, 600), junk=st.binary(max_size=40))
def test_what_is_no_whole_jpeg_is_said_to_be_none(cut: int, junk: bytes) -> None:
    file = jpeg.encode_pictures(pictures())["jpeg/left"].tobytes()[:cut] + junk
    with pytest.raises(wire.WireError, match="JPEG"):
        jpeg.decode_pictures({"jpeg/left": np.frombuffer(file, np.uint8).reshape(1, -1)}, SIZES)


def views(count: int, height_px: int = 24) -> NDArray[np.uint8]:
    """Key views of a camera, each of another brightness."""
    shades = np.arange(50, 50 + 5 * count, 5, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(shades, (count, height_px, 32, 3)).copy()


def test_key_views_come_back_as_nearly_the_same_stacks_beside_the_pictures_in_one_buffer() -> None:
    given = {"key/left": views(5), "key/right": views(5, 40)}
    coded = jpeg.encode_pictures(pictures() | given)
    assert coded.keys() == {"jpeg/left", "jpeg/right", "jpeg-key/left", "jpeg-key/right"}
    opened = jpeg.decode_pictures(coded | {"key_tick": np.arange(5)}, SIZES)
    assert opened.keys() == {*pictures(), *given, "key_tick"}
    for name, stack in given.items():
        assert opened[name].shape == stack.shape
        assert np.abs(opened[name].astype(int) - stack).max() < 3
    images = [opened[name] for name in pictures()]
    assert np.shares_memory(stacked(images), images[0])


def test_what_is_no_stack_of_one_size_is_refused() -> None:
    one, other = (jpeg.encode_pictures({"key/x": views(1, height_px)})["jpeg-key/x"] for height_px in (24, 40))
    for stack in (one[0], one[:0], np.concatenate((one, other)), one[None]):
        with pytest.raises(wire.WireError, match="array 'jpeg-key/x' is no stack of JPEG of one size"):
            jpeg.decode_pictures({"jpeg-key/x": stack}, ("x",))
    with pytest.raises(wire.WireError, match="no JPEG"):
        jpeg.decode_pictures({"jpeg-key/x": np.zeros_like(one)}, ("x",))


def test_small_files_cannot_claim_more_views_than_travel_raw() -> None:
    file = jpeg.encode_pictures({"image/x": np.zeros((2048, 2048, 3), np.uint8)})["jpeg/x"]
    whole = jpeg.decode_pictures({"jpeg-key/x": file[None]}, ("x",))["key/x"]
    assert whole.shape == (1, 2048, 2048, 3)
    with pytest.raises(wire.WireError, match="2 pictures of 2048x2048, too large to be taken"):
        jpeg.decode_pictures({"jpeg-key/x": np.stack((file, file))}, ("x",))


@pytest.mark.parametrize(
    ("decodes", "sent"), [(("jpeg", "jpeg-key"), "jpeg-key/left"), (("jpeg",), "key/left"), ((), "key/left")]
)
def test_key_views_go_as_jpeg_to_a_server_that_decodes_them(decodes: tuple[str, ...], sent: str) -> None:
    kept = gallery()
    carrier = Carrier(welcome(decodes=decodes), SIZES, kept, TCP, Carriage.JPEG, 0)
    request = wire.Infer(session="s1", request_seq=1, obs_seq=1, deadline_ms=100.0)
    _, arrays = carrier.pack(request, pictures() | {"key/left": views(2), "key_tick": np.arange(2)}, 0)
    form = "jpeg" if decodes else "image"
    assert arrays.keys() == {f"{form}/left", f"{form}/right", sent, "key_tick"}
    kept.close()


def test_a_small_file_cannot_claim_a_huge_picture() -> None:
    rows = jpeg.encode_pictures({"image/x": np.zeros((8, 8, 3), np.uint8)})["jpeg/x"]
    file = rows.tobytes()
    start = file.index(b"\xff\xc0") + 5
    huge = file[:start] + (40_000).to_bytes(2, "big") * 2 + file[start + 4 :]
    with pytest.raises(wire.WireError, match="too large"):
        jpeg.decode_pictures({"jpeg/x": np.frombuffer(huge, np.uint8).reshape(rows.shape)}, ("x",))


def scans(file: bytes, more: int) -> bytes:
    """A JPEG with its last scan so many times more, each a few bytes and a pass over the whole picture."""
    last = file.rindex(b"\xff\xda")
    return file[:-2] + file[last:-2] * more + file[-2:]


@pytest.mark.parametrize("form", ["jpeg/x", "jpeg-key/x"])
def test_a_file_is_decoded_in_one_pass_however_many_scans_it_has(form: str) -> None:
    made = io.BytesIO()
    Image.new("RGB", (2300, 2300)).save(made, "JPEG", progressive=True)
    bomb = np.frombuffer(scans(made.getvalue(), 40_000), np.uint8).reshape(1, -1)
    assert bomb.nbytes < 1_000_000
    begun_s = time.monotonic()
    with pytest.raises(wire.WireError, match=f"array '{form}' is no baseline JPEG of one scan"):
        jpeg.decode_pictures({form: bomb[None] if "key" in form else bomb}, ("x",))
    # Decoded, it takes minutes.
    assert time.monotonic() - begun_s < 10.0


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file[:2] + b"\xff\x01" + file[2:],  # a marker without a length, behind which anything might hide
        lambda file: re.sub(b"\xff\xda\0\x0c\x03(..).{4}", b"\xff\xda\0\x08\x01\\1", file, flags=re.DOTALL),
        lambda file: file[:2] + b"\xff\xfe\x00\x02" * 400 + file[2:],
    ],
)
def test_what_may_have_more_scans_than_one_is_refused(change: Callable[[bytes], bytes]) -> None:
    file = jpeg.encode_pictures(pictures())["jpeg/left"].tobytes()
    changed = change(file)
    assert changed != file
    with pytest.raises(wire.WireError, match="no baseline JPEG of one scan"):
        jpeg.decode_pictures({"jpeg/left": np.frombuffer(changed, np.uint8).reshape(1, -1)}, SIZES)


def test_pictures_of_cameras_that_a_policy_has_not_are_not_decoded() -> None:
    junk = {"jpeg/other": np.zeros((1, 4096), np.uint8), "jpeg-key/other": np.zeros((1, 1, 4096), np.uint8)}
    opened = jpeg.decode_pictures(jpeg.encode_pictures(pictures()) | junk, SIZES)
    assert opened.keys() == {*pictures(), *junk}


def measured(ping_ns: Callable[[int, int], int]) -> tuple[Carrier, list[int]]:
    """Measure a link on which ping i with a load takes `ping_ns(i, load_bytes)`; returns also the loads."""
    kept = gallery()
    carrier = Carrier(welcome(decodes=("jpeg",)), {"a": (640, 480)}, kept, TCP, Carriage.NONE, 0)
    now_ns = 0
    loads: list[int] = []
    while not carrier.ready:
        ping = carrier.step(now_ns)
        if ping is not None:
            assert carrier.step(now_ns) is None
            loads.append(sum(array.nbytes for array in ping[1].values()))
            now_ns += ping_ns(len(loads) - 1, loads[-1])
            carrier.heard(now_ns)
    kept.close()
    return carrier, loads


@pytest.mark.parametrize(
    ("mbit_s", "way", "loaded"),
    [
        (1, Carriage.JPEG, [FIRST_PROBE_BYTES]),
        (5, Carriage.JPEG, [FIRST_PROBE_BYTES]),
        (6, Carriage.JPEG, [FIRST_PROBE_BYTES, PROBE_BYTES]),
        (50, Carriage.JPEG, [FIRST_PROBE_BYTES, PROBE_BYTES]),
        (40_000, Carriage.RAW, [FIRST_PROBE_BYTES, *[PROBE_BYTES] * 3]),
    ],
)
def test_a_link_is_measured_and_pictures_go_as_is_sooner_there(mbit_s: int, way: Carriage, loaded: list[int]) -> None:
    carrier, loads = measured(lambda _, load_bytes: NS_PER_MS + load_bytes * 8_000 // mbit_s)
    assert carrier.carriage is way
    assert f"{mbit_s} Mbit/s, 1.0 ms there and back" in carrier.text
    assert loads == [0, 0, 0, *loaded]


@given(kbit_s=st.integers(200, 10_000_000), round_trip_ms=st.integers(0, 100))
def test_no_load_keeps_a_link_busy_for_so_long_that_it_is_given_up(kbit_s: int, round_trip_ms: int) -> None:
    def ping_ns(_: int, load_bytes: int) -> int:
        carried_ns = load_bytes * 8_000_000 // kbit_s
        assert carried_ns < HEARTBEAT_TIMEOUT_MS * NS_PER_MS
        return round_trip_ms * NS_PER_MS + carried_ns

    measured(ping_ns)


def test_a_ping_without_a_load_may_come_late() -> None:
    carrier, loads = measured(lambda i, load_bytes: (100 if i == 1 else 1) * NS_PER_MS + load_bytes // 10)
    assert loads == list(LOADS_BYTES)
    assert "1.0 ms there and back" in carrier.text


def test_a_link_that_does_not_answer_in_time_counts_as_slow() -> None:
    carrier = Carrier(welcome(decodes=("jpeg",)), SIZES, gallery(), TCP, Carriage.NONE, 0)
    assert carrier.step(0) is not None
    assert carrier.step(MEASURE_NS) is None
    assert not carrier.ready
    carrier.step(MEASURE_NS + 1)
    assert carrier.ready
    assert carrier.carriage is Carriage.JPEG


def test_the_rate_of_a_link_is_that_of_the_largest_load_that_was_carried() -> None:
    assert LinkRate([7, 3, 9, 3 + 2 * FIRST_PROBE_BYTES]).ns_per_byte == 2.0
    assert LinkRate([7, 3, 9, 10**9, 10**9, 3 + 4 * PROBE_BYTES]).ns_per_byte == 4.0
    assert LinkRate([7, 3, 9, 1, 1]).ns_per_byte == 1 / PROBE_BYTES


def test_jpeg_must_save_a_quarter() -> None:
    link = LinkRate([5, 2, 4, 10**9, PROBE_BYTES + 2])
    assert link.ns_per_byte == 1.0
    assert Coding(took_ns=649, left=0.1).pays(link, [1000])
    assert not Coding(took_ns=650, left=0.1).pays(link, [1000])
    assert not Coding(took_ns=325, left=0.1).pays(link, [500, 0])


@pytest.mark.parametrize(
    ("forced", "decodes", "way"),
    [
        (Carriage.JPEG, ("jpeg",), Carriage.JPEG),
        (Carriage.JPEG, (), Carriage.RAW),
        (Carriage.SHARED, ("jpeg",), Carriage.RAW),
        (Carriage.RAW, ("jpeg",), Carriage.RAW),
        (Carriage.NONE, (), Carriage.RAW),
    ],
)
def test_what_is_asked_for_is_done_where_both_sides_can(
    forced: Carriage, decodes: tuple[str, ...], way: Carriage
) -> None:
    carrier = Carrier(welcome(decodes=decodes), SIZES, gallery(), TCP, forced, 0)
    assert (carrier.ready, carrier.carriage) == (True, way)


def test_a_server_of_this_host_that_says_nothing_gets_pictures_as_they_are() -> None:
    door = Door()
    carrier = Carrier(welcome(door=door.name, secret=SECRET), SIZES, gallery(), "ipc://@x", Carriage.NONE, 0)
    assert carrier.step(DOOR_NS) is None
    assert not carrier.ready
    carrier.step(DOOR_NS + 1)
    assert (carrier.ready, carrier.carriage, carrier.lane) == (True, Carriage.RAW, None)
    door.close()


def test_pictures_of_the_gallery_are_told_of_and_stay_until_they_are_answered_or_of_no_use() -> None:
    door, kept = Door(), Gallery(SIZES, 2)
    carrier = Carrier(welcome(door=door.name, secret=SECRET), SIZES, kept, "ipc://@x", Carriage.NONE, 0)
    lanes: list[Lane] = []

    def take(secret: str, region: Region, lane: Lane) -> bool:
        lanes.append(lane)
        return secret == SECRET

    assert carrier.lane is None
    door.answer(take)
    carrier.step(0)
    assert carrier.carriage is Carriage.SHARED
    assert carrier.lane is not None
    assert lanes[0].send([b"there"])
    assert carrier.lane.receive() == [b"there"]

    def asked(seq: int, now_ns: int) -> int | None:
        """Send a new picture of each camera; returns where they lie, None where they travel as they are."""
        request = wire.Infer(session="s1", request_seq=seq, obs_seq=seq, deadline_ms=100.0)
        taken = {f"image/{name}": kept.take(name, pictures()[f"image/{name}"], seq * NS_PER_S) for name in SIZES}
        told, arrays = carrier.pack(request, taken | {"state": np.zeros(14)}, now_ns)
        assert arrays.keys() == {"state"} | (taken.keys() if not told.shared else set())
        return told.shared[0].offset if told.shared else None

    first, second = asked(1, 0), asked(2, 1)
    assert None not in {first, second}
    assert first != second
    assert asked(3, 100 * NS_PER_MS - 1) is None
    chunk = wire.Chunk(session="s1", request_seq=2, obs_seq=2, server_ns=0, infer_ns=0, final=False)
    carrier.answered(chunk)
    assert asked(3, 100 * NS_PER_MS - 1) is None
    carrier.answered(msgspec.structs.replace(chunk, final=True))
    assert asked(4, 100 * NS_PER_MS - 1) == second
    carrier.answered(wire.Superseded(session="s1", request_seq=4))
    assert asked(4, 100 * NS_PER_MS - 1) == second
    # The first one's deadline has passed: noticed at the next request, and used by the one after it.
    assert asked(5, 100 * NS_PER_MS) is None
    assert asked(6, 100 * NS_PER_MS) == first
    carrier.close()
    assert asked(7, 0) is not None
    with pytest.raises(LaneClosedError):
        lanes[0].receive()
    lanes[0].close()
    door.close()
    kept.close()


def test_pictures_from_elsewhere_travel_as_they_are() -> None:
    door, kept = Door(), gallery()
    carrier = Carrier(welcome(door=door.name, secret=SECRET), SIZES, kept, "ipc://@x", Carriage.NONE, 0)
    lanes: list[Lane] = []
    door.answer(lambda _secret, _region, lane: lanes.append(lane) is None)
    carrier.step(0)
    request = wire.Infer(session="s1", request_seq=1, obs_seq=1, deadline_ms=100.0)
    told, arrays = carrier.pack(request, pictures(), 0)
    assert not told.shared
    assert arrays.keys() == pictures().keys()
    for held in (carrier, lanes[0], door, kept):
        held.close()


def test_an_endpoint_says_how_pictures_shall_go() -> None:
    assert carriage_of("tcp://h:1?pictures=shm") == ("tcp://h:1", Carriage.SHARED)
    assert carriage_of("ipc://@x") == ("ipc://@x", Carriage.NONE)
    for wrong in ("tcp://h:1?pictures=png", "tcp://h:1?picture=raw", "tcp://h:1?pictures"):
        with pytest.raises(UsageError, match="raw, shm, jpeg"):
            carriage_of(wrong)
