"""A policy of LeRobot behind our wire, run where LeRobot is installed, whose Python and packages are its own.

    python -m runtime.inference.lerobot_host --policy FOLDER_OR_HUB_NAME --bind tcp://127.0.0.1:8790
    leadtime run --policy tcp://127.0.0.1:8790

Needs from us this package's files alone, and numpy, pyzmq and msgspec beside LeRobot. What LeRobot stores with a policy
is applied: its processors, normalisation among them. Actions and state are taken to be 14 numbers in the order of
`runtime.layout`. A policy is of its authors: loading it may run code of theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from runtime.errors import LeadtimeError, UsageError
from runtime.inference import wire
from runtime.inference.lerobot_policy import RATE_HZ, UNITS, LeRobotPolicy, Options
from runtime.inference.server.mail import MESSAGES_PER_TURN, POLL_MS
from runtime.inference.server.refusals import expired, no_place, no_session, refused, superseded
from runtime.inference.server.session import Job, SessionTable
from runtime.layout import JOINT_NAMES, RIG_DOF
from runtime.net.frames import Buffer
from runtime.net.sockets import open_router, receive

LOG = logging.getLogger(__name__)


class Host:
    """Answers on a bound socket; the policy runs in a thread of its own, so that a slow one is not a silent one."""

    def __init__(self, router: zmq.Socket[bytes], policy: LeRobotPolicy) -> None:
        self._router = router
        self._policy = policy
        self._sessions = SessionTable()
        self._lock = threading.Condition()
        self._under_way: tuple[bytes, int] | None = None
        self._replies: list[tuple[bytes, list[Buffer]]] = []
        self._stopping = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._episode: tuple[str, int] = ("", 0)

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until `stop` says so; it is asked at least every `POLL_MS`."""
        thread = threading.Thread(target=self._work, name="inference", daemon=True)
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake_fd, zmq.POLLIN)
        thread.start()
        try:
            while not stop():
                if self._wake_fd in dict(poller.poll(POLL_MS)):
                    os.eventfd_read(self._wake_fd)
                self._read_mail()
                self._flush()
        finally:
            with self._lock:
                self._stopping = True
                self._lock.notify()
            thread.join()
            os.close(self._wake_fd)

    def _read_mail(self) -> None:
        # Not all of it: who floods keeps nobody from an answer.
        for _ in range(MESSAGES_PER_TURN):
            received = receive(self._router, identified=True)
            if received is None:
                return
            self._read(*received)

    def _flush(self) -> None:
        with self._lock:
            replies, self._replies = self._replies, []
        for sender, frames in replies:
            # A client that left or does not read is not waited for: the router drops what it cannot deliver.
            self._router.send_multipart([sender, *frames], zmq.NOBLOCK, copy=False)

    def _say(self, sender: bytes, message: wire.Message, arrays: wire.ArrayMap | None = None) -> None:
        frames = wire.encode(message, arrays)
        with self._lock:
            self._replies.append((sender, frames))
        os.eventfd_write(self._wake_fd, 1)

    def _read(self, sender: bytes, frames: list[Buffer]) -> None:
        now_ns = time.monotonic_ns()
        try:
            message, arrays = wire.decode(frames)
        except wire.WireError as error:
            self._say(sender, wire.Error(code="bad_request", reason=str(error)))
            return
        if isinstance(message, wire.Hello):
            self._say(sender, self._open(sender, message, now_ns))
            return
        if not isinstance(message, wire.Infer | wire.Cancel | wire.Ping):
            self._say(sender, wire.Error(code="bad_request", reason="this server takes hello, infer, cancel and ping"))
            return
        session = self._sessions.find(sender, message.session, now_ns)
        if isinstance(message, wire.Cancel):
            if session is not None:
                self._cancel(sender, message.request_seq)
        elif session is None:
            seq = message.request_seq if isinstance(message, wire.Infer) else 0
            self._say(sender, no_session(seq))
        elif isinstance(message, wire.Ping):
            self._say(sender, wire.Pong(session=session.name))
        else:
            self._queue(Job(sender, message, arrays, session.hello, session.schema, now_ns))

    def _open(self, sender: bytes, hello: wire.Hello, now_ns: int) -> wire.Message:
        session = self._sessions.open(sender, hello, self._schema(hello.rig), now_ns)
        if session is None:
            return no_place()
        return wire.Welcome(session=session.name, schema=session.schema)

    def _schema(self, rig: wire.RigSchema) -> wire.Schema:
        """Return what is agreed: pictures come as the rig's cameras give them, and are resized here."""
        policy, options = self._policy, self._policy.options
        sizes = {rig.cameras[name] for name in policy.cameras if name in rig.cameras}
        width_px, height_px = sizes.pop() if len(sizes) == 1 else policy.size_px
        return wire.Schema(
            policy=options.policy.rstrip("/").rpartition("/")[2][-64:],
            policy_class=f"LeRobot {policy.kind}"[:64],
            joint_names=JOINT_NAMES,
            rate_hz=options.rate_hz,
            horizon=policy.horizon,
            execute_steps=policy.execute_steps,
            prefix_max=0,
            cameras=policy.cameras,
            width_px=width_px,
            height_px=height_px,
            velocity=False,
            object_state=0,
            latency_ms=policy.latency_ms,
        )

    def _queue(self, job: Job) -> None:
        older = self._sessions.put(job)
        with self._lock:
            self._lock.notify()
        if older is not None:
            self._say(job.sender, superseded(older))

    def _cancel(self, sender: bytes, request_seq: int) -> None:
        with self._lock:
            self._sessions.cancel(sender, request_seq)
            if self._under_way == (sender, request_seq):
                self._under_way = None

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._sessions.waits or self._stopping)
                if self._stopping:
                    return
                job, late = self._sessions.take(time.monotonic_ns())
                self._under_way = None if job is None else (job.sender, job.request.request_seq)
            for each in late:
                self._say(each.sender, expired(each))
            if job is None:
                continue
            answer, arrays = self._answer(job)
            with self._lock:
                cancelled = self._under_way is None
            if not cancelled:
                self._say(job.sender, answer, arrays)

    def _answer(self, job: Job) -> tuple[wire.Message, wire.ArrayMap]:
        request, seq = job.request, job.request.request_seq
        begin_ns = time.monotonic_ns()
        try:
            state, pictures = _observation(job)
        except wire.WireError as error:
            return refused(job, "bad_request", str(error)), {}
        try:
            episode = (request.session, request.epoch)
            if episode != self._episode:
                self._policy.reset()
                self._episode = episode
            seed = (request.seed + seq) % 2**63
            chunk = self._policy.infer(pictures, state, job.hello.prompt or job.hello.task, seed)
        except Exception:  # whatever a policy raises, the client learns only that it failed
            LOG.exception("the policy failed on request %d", seq)
            return refused(job, "failed", "the model failed"), {}
        done_ns = time.monotonic_ns()
        answer = wire.Chunk(
            session=request.session,
            request_seq=seq,
            obs_seq=request.obs_seq,
            server_ns=done_ns - job.t_receipt_ns,
            infer_ns=done_ns - begin_ns,
        )
        return answer, {"actions": chunk}


def _observation(job: Job) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Return state and pictures of a request.

    Raises:
        WireError: an array is missing or not as agreed, or the request asks for more than a plain chunk.
    """
    schema = job.schema
    if job.request.condition != "plain":
        raise wire.WireError(f"condition {job.request.condition.value!r}; this policy can do plain")

    def take(name: str, code: str, shape: tuple[int, ...]) -> NDArray[Any]:
        array = job.arrays.get(name)
        if array is None:
            raise wire.WireError(f"array {name!r} is missing")
        if array.dtype.str[1:] != code or array.shape != shape:
            raise wire.WireError(f"array {name!r} is {array.dtype.str[1:]} {array.shape}; {code} {shape} was agreed")
        return array

    state = take("state", "f4", (RIG_DOF,))
    if not np.isfinite(state).all():
        raise wire.WireError("array 'state' holds NaN or infinity")
    return state, [take(f"image/{name}", "u1", (schema.height_px, schema.width_px, 3)) for name in schema.cameras]


def _parse(arguments: Sequence[str]) -> tuple[Options, str]:
    parser = argparse.ArgumentParser("runtime.inference.lerobot_host", description="Serve a policy of LeRobot.")
    parser.add_argument("--policy", required=True, help="folder of the policy, or its name on the hub")
    parser.add_argument("--bind", default="tcp://127.0.0.1:8790", help="tcp://127.0.0.1:PORT or ipc://PATH")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--rate-hz", type=int, default=RATE_HZ, help="rate of the actions; the rig's must be the same")
    parser.add_argument("--execute-steps", type=int, default=0, help="steps between two chunks; 0: a quarter chunk")
    parser.add_argument("--units", default="rad", choices=[*UNITS], help="what the policy was trained on")
    parser.add_argument("--rename", action="append", default=[], metavar="MODEL=RIG", help="a camera's name on the rig")
    found = parser.parse_args(arguments)
    pairs = [pair.partition("=") for pair in found.rename]
    if not all(model and rig for model, _, rig in pairs):
        raise UsageError("--rename takes MODEL=RIG, for instance top=cam_high")
    rename = {model: rig for model, _, rig in pairs}
    return Options(found.policy, found.device, found.rate_hz, found.execute_steps, found.units, rename), found.bind


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # No lock: a second signal may come within the first.
        nonlocal stopped
        stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        options, bind = _parse(sys.argv[1:] if arguments is None else arguments)
        with zmq.Context() as context, open_router(context, bind, keyless=True) as router:
            # What LeRobot has to say is not the line that says we are ready.
            with contextlib.redirect_stdout(sys.stderr):
                policy = LeRobotPolicy(options)
            endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
            sys.stdout.write(
                f"serving {options.policy} on {endpoint} : LeRobot {policy.kind}, chunk of {policy.horizon}, "
                f"cameras {', '.join(policy.cameras)}, model {policy.latency_ms:.1f} ms\n"
            )
            sys.stdout.flush()
            Host(router, policy).run(lambda: stopped)
    except LeadtimeError as error:
        sys.stderr.write(f"leadtime: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
