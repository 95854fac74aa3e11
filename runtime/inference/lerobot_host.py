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
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.arms import ARM_MODELS
from runtime.errors import LeadtimeError, UsageError
from runtime.inference import wire
from runtime.inference.fit import check_fit
from runtime.inference.lerobot_load import RATE_HZ, UNITS, Options, load
from runtime.inference.lerobot_policy import LeRobotPolicy
from runtime.inference.server.ending import Ending
from runtime.inference.server.served import Answer, Served
from runtime.inference.server.server import serve_model
from runtime.inference.server.session import Job
from runtime.layout import JOINT_NAMES, RIG_DOF
from runtime.net.keys import ServerKeys

RATE_HZ_MAX: Final = 1000


class ServedLeRobot:
    """A loaded policy as a server has it; a session's epoch is an episode."""

    places: int | None = None

    def __init__(self, policy: LeRobotPolicy) -> None:
        self.name = policy.options.policy
        self.about = (
            f"LeRobot {policy.kind}, chunk of {policy.horizon}, cameras {', '.join(policy.cameras)}, "
            f"model {policy.latency_ms:.1f} ms"
        )
        self.latency_ms = policy.latency_ms
        self._policy = policy
        self._episode: tuple[str, int] = ("", 0)

    def agree(self, hello: wire.Hello) -> wire.Schema:
        """Return what is agreed: pictures come as the rig's cameras give them, and are resized here.

        Raises:
            RefusalError: the rate, a camera or a picture's size does not fit.
        """
        policy, options, rig = self._policy, self._policy.options, hello.rig
        sizes = {rig.cameras[name] for name in policy.cameras if name in rig.cameras}
        width_px, height_px = sizes.pop() if len(sizes) == 1 else policy.size_px
        schema = wire.Schema(
            policy=options.name,
            policy_class=f"LeRobot {policy.kind}"[:64],
            arms=(options.arms,) if options.arms else (),
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
        check_fit(schema, rig)
        return schema

    def answers(self, job: Job) -> Iterator[Answer]:
        """Yield the chunk for a request.

        Raises:
            WireError: the request is not what was agreed.
        """
        request = job.request
        begun_ns = time.monotonic_ns()
        state, pictures = _observation(job)
        prepare_ns = time.monotonic_ns() - begun_ns
        episode = (request.session, request.epoch)
        if episode != self._episode:
            self._policy.reset()
            self._episode = episode
        seed = (request.seed + request.request_seq) % 2**63
        chunk = self._policy.infer(pictures, state, job.hello.prompt or job.hello.task, seed)
        yield Answer(chunk, prepare_ns=prepare_ns)

    def close(self) -> None:
        """Nothing is held elsewhere."""


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


def _parse(arguments: Sequence[str]) -> tuple[Options, argparse.Namespace]:
    parser = argparse.ArgumentParser("runtime.inference.lerobot_host", description="Serve a policy of LeRobot.")
    parser.add_argument("--policy", required=True, help="folder of the policy, or its name on the hub")
    parser.add_argument("--bind", default="tcp://127.0.0.1:8790", help="tcp://127.0.0.1:PORT or ipc://PATH")
    parser.add_argument("--keys", type=Path, help="folder with this server's keys and clients/, by `leadtime keys`")
    parser.add_argument("--insecure", action="store_true", help="serve other hosts without keys")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--rate-hz", type=int, default=RATE_HZ, help="rate of the actions; the rig's must be the same")
    parser.add_argument("--execute-steps", type=int, default=0, help="steps between two chunks; 0: a quarter chunk")
    parser.add_argument("--units", default="rad", choices=[*UNITS], help="what the policy was trained on")
    parser.add_argument("--rename", action="append", default=[], metavar="MODEL=RIG", help="a camera's name on the rig")
    parser.add_argument(
        "--arms", default="", metavar="MODEL", help="arm model that it is for; a rig with others is refused"
    )
    found = parser.parse_args(arguments)
    pairs = [pair.partition("=") for pair in found.rename]
    if not all(model and rig for model, _, rig in pairs):
        raise UsageError("--rename takes MODEL=RIG, for instance top=cam_high")
    if not 1 <= found.rate_hz <= RATE_HZ_MAX:
        raise UsageError(f"--rate-hz {found.rate_hz}: give the rate of the actions, 1 to {RATE_HZ_MAX} Hz")
    if found.arms and found.arms not in ARM_MODELS:
        raise UsageError(f"--arms {found.arms}: unknown arm model; valid: {', '.join(ARM_MODELS)}")
    if found.execute_steps < 0:
        raise UsageError(f"--execute-steps {found.execute_steps}: give a number of steps, or 0 for a quarter chunk")
    if found.insecure and found.keys is not None:
        raise UsageError("--insecure says to serve without keys; leave out one of --keys and --insecure")
    rename = {model: rig for model, _, rig in pairs}
    options = Options(
        found.policy, found.device, found.rate_hz, found.execute_steps, found.units, rename, arms=found.arms
    )
    return options, found


def _load(options: Options) -> Served:
    # What LeRobot has to say is not the line that says we are ready.
    with contextlib.redirect_stdout(sys.stderr):
        loaded = load(options)
        if loaded.config.type == "lingbot_va":
            # What holds a session with it needs more of us, Pillow among it.
            lingbot = importlib.import_module("runtime.inference.lerobot_lingbot")
            hosted: Served = lingbot.hosted_lingbot(loaded, options)
            return hosted
        return ServedLeRobot(LeRobotPolicy(loaded, options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    ending = Ending()

    def ready(line: str) -> None:
        ending.catch()
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    try:
        options, found = _parse(sys.argv[1:] if arguments is None else arguments)
        keys = None if found.keys is None else ServerKeys.load(found.keys)
        serve_model(
            lambda _median_ms: _load(options),
            bind=found.bind,
            keys=keys,
            insecure=found.insecure,
            stop=lambda: ending.asked,
            on_ready=ready,
        )
    except LeadtimeError as error:
        sys.stderr.write(f"leadtime: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
