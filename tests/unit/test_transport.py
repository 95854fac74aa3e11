"""The transport benchmark: a link as slow as it says, ratios that are what was measured, reasons for absence."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.transport import comparison, payload, relay, report
from bench.transport.comparison import Took, contenders, tabulate
from bench.transport.contender import AbsentError, Contender, seated
from bench.transport.openpi import SERVER_FILE
from runtime.cli import BenchTransport
from runtime.clock import NS_PER_S, VirtualClock
from runtime.errors import UsageError

MEGABIT = 1_000_000


def test_a_bucket_carries_at_its_rate_and_is_ahead_by_its_burst_only() -> None:
    clock = VirtualClock(NS_PER_S)
    bucket = relay.Bucket(8 * MEGABIT, clock)
    bucket.carry(500_000)
    # A byte takes a microsecond; what the idle moment saved up is not waited for.
    first_ns = NS_PER_S + (500_000 - relay.BURST_BYTES) * 1000
    assert clock.now_ns() == first_ns
    bucket.carry(100_000)
    bucket.carry(100_000)
    assert clock.now_ns() == first_ns + 200_000_000
    clock.advance_ns(5 * NS_PER_S)
    bucket.carry(relay.BURST_BYTES)
    assert clock.now_ns() == first_ns + 200_000_000 + 5 * NS_PER_S


@contextmanager
def echo() -> Iterator[int]:
    """A server that sends back what it gets, on a port."""

    def run() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link:
                while data := link.recv(1 << 16):
                    link.sendall(data)

    listener = socket.create_server((relay.HOST, 0))
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def there_and_back(port: int, data: bytes) -> tuple[bytes, float]:
    """Send data and read it back; returns it and the time in seconds."""
    with socket.create_connection((relay.HOST, port)) as link:
        began = time.perf_counter()
        sender = threading.Thread(target=link.sendall, args=(data,))
        sender.start()
        back = bytearray()
        while len(back) < len(data):
            back += link.recv(1 << 16)
        took_s = time.perf_counter() - began
        sender.join()
    return bytes(back), took_s


@contextmanager
def relayed(port: int, bits_per_s: int) -> Iterator[relay.Relay]:
    link = relay.Relay(port, bits_per_s)
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        yield link
    finally:
        link.close()
        thread.join()


def test_an_emulated_link_gives_every_byte_no_sooner_than_it_could_have_come() -> None:
    data = bytes(range(256)) * 2_000
    rate, times = 40 * MEGABIT, 3
    with echo() as port, relayed(port, rate) as fast, relayed(port, rate // 2) as slow:
        took_s = {link: min(_returned_in_s(link.port, data) for _ in range(times)) for link in (fast, slow)}
        assert fast.carried_bytes == slow.carried_bytes == 2 * times * len(data)
    least_s = (len(data) - 2 * relay.BURST_BYTES) * 8 / rate
    assert took_s[fast] >= least_s
    assert took_s[slow] >= 2 * least_s
    assert 1.3 < took_s[slow] / took_s[fast] < 3.0


def _returned_in_s(port: int, data: bytes) -> float:
    back, took_s = there_and_back(port, data)
    assert back == data
    return took_s


def took(name: str, *rounds_ms: float) -> Took:
    contender = Contender(name, name.title(), "python", (), (), "gigabit" if "gigabit" in name else "host")
    return Took(contender, rounds=[[round(ms * 1e6)] * 3 for ms in rounds_ms])


def test_ratios_are_of_medians_and_say_whether_the_aim_is_met() -> None:
    results = tabulate(
        [took("leadtime", 1.0, 1.0, 2.0), took("openpi", 10.0, 20.0, 10.0), took("lerobot", 15.0, 15.0, 15.0)],
        {"lerobot-unpaced": "not here"},
    )
    by_name = {ratio["theirs"]: ratio for ratio in results["ratios"]}
    assert by_name.keys() == {"openpi", "lerobot"}
    assert (by_name["openpi"]["ratio"], by_name["openpi"]["met"]) == (0.1, True)
    assert by_name["openpi"]["by_round"] == [0.05, 0.2]
    assert (by_name["lerobot"]["ratio"], by_name["lerobot"]["met"]) == (0.0667, False)
    assert results["absent"] == {"lerobot-unpaced": "not here"}
    text = report.build_report(results)
    assert "1 of 2 ratios as wanted" in text
    assert "not here" in text
    assert "src=" not in text


def test_a_page_without_anyone_to_compare_with_says_so() -> None:
    text = report.build_report(tabulate([took("leadtime", 1.0)], {"openpi": "give a checkout"}))
    assert "nothing to compare with" in text


def test_the_pictures_are_of_the_size_that_is_said_and_differ() -> None:
    first, second = payload.pictures(0), payload.pictures(1)
    assert sum(picture.nbytes for picture in first.values()) + payload.state(0).nbytes == payload.request_bytes()
    assert all((first[name] != second[name]).mean() > 0.5 for name in payload.CAMERAS)
    payload.check(payload.reply())
    with pytest.raises(ValueError, match="a chunk of shape"):
        payload.check(payload.reply()[:49])


def test_without_a_checkout_openpi_is_absent_with_the_reason_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    chosen, absent = contenders(BenchTransport())
    assert "--openpi" in absent["openpi"]
    assert not any(contender.name.startswith("openpi") for contender in chosen)
    with pytest.raises(UsageError, match=r"no src/openpi/serving/websocket_policy_server\.py there"):
        contenders(BenchTransport(openpi=tmp_path))
    (tmp_path / SERVER_FILE).parent.mkdir(parents=True)
    (tmp_path / SERVER_FILE).touch()
    names = {contender.name for contender in contenders(BenchTransport(openpi=tmp_path))[0]}
    assert {"openpi", "openpi-gigabit"} <= names


def test_who_is_named_is_measured_and_nobody_else_and_a_wrong_name_is_refused() -> None:
    chosen, absent = contenders(BenchTransport(contenders=("leadtime-gigabit", "leadtime")))
    assert ([contender.name for contender in chosen], absent) == (["leadtime", "leadtime-gigabit"], {})
    assert contenders(BenchTransport(contenders=("openpi",)))[1].keys() == {"openpi"}
    with pytest.raises(UsageError, match="--contenders openpy: there is no such; choose of leadtime"):
        contenders(BenchTransport(contenders=("openpy",)))


def test_what_does_not_start_is_absent_with_its_own_last_words(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'No module named lerobot' >&2\nexit 1\n")
    program.chmod(0o755)
    for python, reason in (
        (str(program), "No module named lerobot"),
        ("/nowhere/python", "cannot run /nowhere/python"),
    ):
        contender = Contender("lerobot", "LeRobot", python, ("x", "{port}"), ("x", "{port}"))
        with pytest.raises(AbsentError, match=reason), seated(contender):
            pass


def test_our_own_server_answers_on_this_host_and_over_the_emulated_link() -> None:
    ours = [contender for contender in contenders(BenchTransport())[0] if contender.name.startswith("leadtime")]
    absent: dict[str, str] = {}
    measured = comparison.measure(ours, absent, rounds=2, turn=3)
    assert [[len(turn) for turn in entry.rounds] for entry in measured] == [[3, 3]] * 6
    assert not absent
    assert all(ns > 0 for entry in measured for turn in entry.rounds for ns in turn)
    # Pictures went over the link, and not past it.
    rows = tabulate(measured, absent)["contenders"]
    assert rows["leadtime"]["link_bytes_per_request"] == 0
    assert rows["leadtime-gigabit"]["link_bytes_per_request"] > payload.request_bytes() / 50
    assert rows["leadtime-gigabit-jpeg"]["link_bytes_per_request"] < payload.request_bytes() / 5
    assert rows["leadtime-gigabit-raw"]["link_bytes_per_request"] > payload.request_bytes()
    assert rows["leadtime"]["note"] == "pictures in shared memory"
    assert rows["leadtime-copied"]["note"] == "pictures in shared memory"
    assert rows["leadtime-raw"]["note"] == "pictures as they are"
    assert rows["leadtime-gigabit-jpeg"]["note"].startswith("pictures as JPEG")
