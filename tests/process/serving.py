"""A policy server in a process of its own, and a plain client socket, for the process-level tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from runtime.config import load_rig
from runtime.inference import wire
from runtime.inference.handshake import rig_schema
from runtime.layout import CAMERAS, JOINT_NAMES
from runtime.net.keys import ClientKeys
from runtime.net.sockets import make_dealer, receive

TINY = Path(__file__).parent.parent / "data" / "tiny_policy.onnx"
ANSWER_MS = 10_000
_PROGRAM = """
import sys
from runtime.inference.server.load import loader
from runtime.inference.server.server import serve_model

policy, bind, latency = sys.argv[1:4]


def on_ready(line):
    sys.stdout.write(line + "\\n")
    sys.stdout.flush()


serve_model(loader(policy), bind=bind, latency=latency, seed=3, on_ready=on_ready)
"""


def named_policy(folder: Path) -> Path:
    """Make a policy folder that knows the task `transfer` and return it."""
    folder.mkdir()
    shutil.copy(TINY, folder / "tiny.onnx")
    (folder / "manifest.yaml").write_text(
        "{name: tiny, policy_class: VLA, rate_hz: 50, horizon: 50, execute_steps: 8,\n"
        "action: {representation: absolute_joint, dof: 14, units: {joint: rad, gripper: fraction},\n"
        f" joint_names: [{', '.join(JOINT_NAMES)}]}},\n"
        f"observation: {{cameras: [{', '.join(CAMERAS)}]}},\n"
        "capabilities: {prefix: true, prefix_max: 25}, graphs: {transfer: tiny.onnx}}\n",
        encoding="utf-8",
    )
    return folder


class ServerProcess:
    """A server that is ready; `endpoint` is where."""

    def __init__(
        self,
        bind: str,
        latency: str = "none",
        policy: Path = TINY,
        stand_in: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        program = ["-c", _PROGRAM, str(policy), bind, latency] if stand_in is None else ["-m", stand_in, bind]
        self.process = subprocess.Popen(
            [sys.executable, *program], stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
        )
        stdout = self.process.stdout
        line = "" if stdout is None else stdout.readline()
        self.endpoint = line.partition(" on ")[2].partition(" : ")[0]

    def kill(self) -> None:
        """End the process at once and take its exit status."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def server(
    bind: str,
    latency: str = "none",
    policy: Path = TINY,
    stand_in: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Run a server for the length of a test, or the module that stands in for one; `environment` is added to ours."""
    running = ServerProcess(bind, latency, policy, stand_in, environment)
    try:
        yield running
    finally:
        running.kill()


class PlainClient:
    """A client that sends what it is told and waits for answers; without `beats` it is patient with its connection."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        name: str = "test",
        keys: ClientKeys | None = None,
        *,
        beats: bool = True,
    ) -> None:
        self.socket = make_dealer(context, endpoint, keys)
        if not beats:
            self.socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
        self.socket.connect(endpoint)
        self.name = name
        self.session = ""

    def __enter__(self) -> PlainClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, message: wire.Message, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Send one message."""
        self.socket.send_multipart(wire.encode(message, arrays), copy=False)

    def answer(self) -> tuple[wire.Message, wire.ArrayMap]:
        """Return the next message; fails after 10 s without one."""
        assert self.socket.poll(ANSWER_MS), "no answer"
        received = receive(self.socket, identified=False)
        assert received is not None
        return wire.decode(received[1])

    def hello(self, rig: str = "sim-x5", task: str = "transfer") -> wire.Message:
        """Say hello and return what the server says to it."""
        self.send(wire.Hello(client=self.name, rig=rig_schema(load_rig(rig)), task=task))
        message, _ = self.answer()
        if isinstance(message, wire.Welcome):
            self.session = message.session
        return message

    def ask(
        self, request_seq: int, deadline_ms: float = 10_000.0, seed: int = 5, executed_tick: int = 0, **replace: Any
    ) -> None:
        """Ask for a chunk about three grey images, with arrays replaced or (None) left out."""
        arrays = {**observation(), **replace}
        prefix = arrays.get("prefix")
        rows = 0 if prefix is None else len(prefix)
        request = wire.Infer(
            session=self.session,
            request_seq=request_seq,
            obs_seq=request_seq + 100,
            seed=seed,
            deadline_ms=deadline_ms,
            condition="prefix" if rows else "plain",
            committed=rows,
            executed_tick=executed_tick,
        )
        self.send(request, {name: array for name, array in arrays.items() if array is not None})


def observation() -> dict[str, NDArray[Any]]:
    """Return the arrays of a request: camera i all of brightness 10 (i + 1), joints at 0.1 rad, no prefix."""
    arrays: dict[str, NDArray[Any]] = {
        f"image/{name}": np.full((240, 320, 3), 10 * (i + 1), dtype=np.uint8) for i, name in enumerate(CAMERAS)
    }
    arrays["state"] = np.full(14, 0.1, dtype=np.float32)
    arrays["velocity"] = np.zeros(14, dtype=np.float32)
    return arrays
