"""A policy of ours behind openpi's websocket, so that a program written for openpi's client is served unchanged.

The wire is that of Physical-Intelligence/openpi src/openpi/serving/websocket_policy_server.py: metadata first, then an
observation (`state` (14,), `images` uint8 (3, height, width) by camera, `prompt`) for a result (`actions` (horizon,
14), `state`, `policy_timing`, `server_timing`), and GET /healthz. Apart from it: errors are one line that says what was
wrong with the request and nothing of this host, messages are bounded, and a web page's connection is refused.
"""

from __future__ import annotations

import functools
import gc
import http
import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from runtime.clock import NS_PER_MS, NS_PER_S
from runtime.errors import LeadtimeError, UsageError
from runtime.inference.adapters.openpi_codec import pack
from runtime.inference.backends.base import ModelInputs
from runtime.inference.policy import ANY_TASK, Policy, load_policy
from runtime.inference.sampler import Query, Sampler, load_sampler
from runtime.inference.server.latency import LatencyModel, parse_latency
from runtime.inference.server.listener import Listener
from runtime.inference.server.openpi_request import BadRequestError, model_inputs, read_observation, task_of
from runtime.net.sockets import check_endpoint
from runtime.states import Condition

LOG = logging.getLogger(__name__)
PEERS_LOG = logging.getLogger(f"{__name__}.peers")
"""What the library says of connections that were none; it is the other side's fault, and not told."""
PEERS_LOG.setLevel(logging.CRITICAL)
CLIENTS_MAX: Final = 32
CONNECTIONS_MAX: Final = 2 * CLIENTS_MAX
"""With those that have not said yet what they want, each of which is a thread for `OPEN_TIMEOUT_S` at most."""
OPEN_TIMEOUT_S: Final = 3.0
REQUEST_BYTES_MAX: Final = 16 * 1024 * 1024
"""Three pictures of 1280x720 are half of it; one request of each client may be under way and one in its buffers."""
FRAMES_BUFFERED: Final = 1
POLL_S: Final = 0.02
CLOSE_TIMEOUT_S: Final = 1.0
SEND_TIMEOUT_S: Final = 10
"""A client that does not take its answer for this long loses its place."""
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013
_PORT: Final = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[^:/\s]+):(?P<port>\d{1,5}|\*)")


class Front:
    """One policy and its clients: their requests are worked on one at a time, in the order they came.

    An answer leaves no sooner than the latency profile says after its request came; one that the profile loses is
    not sent. All times are this host's monotonic clock.

    `inference` is one thread, in which the samplers were loaded too: on a GPU ONNX Runtime keeps a context for every
    thread that ran a model, and a CUDA graph is one thread's (its documents, CUDA execution provider).
    """

    def __init__(
        self,
        policy: Policy,
        samplers: Mapping[str, Sampler],
        latency: LatencyModel,
        inference: Executor,
        seed: int = 0,
    ) -> None:
        """Serve the tasks that there are samplers for."""
        self._policy = policy
        self._samplers = samplers
        self._latency = latency
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._inference = inference
        self._places = threading.Semaphore(CLIENTS_MAX)
        self._stopped = threading.Event()
        self._begun_ns = time.monotonic_ns()
        self._served = 0

    def stop(self) -> None:
        """Let go of answers that are held back, and begin no more."""
        self._stopped.set()

    def handle(self, connection: ServerConnection) -> None:
        """Serve one client until it leaves."""
        if not self._places.acquire(blocking=False):
            connection.close(TRY_AGAIN_LATER, "every place of this server is taken")
            return
        try:
            limit = struct.pack("ll", SEND_TIMEOUT_S, 0)
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            connection.send(pack(self.metadata()))
            self._serve(connection)
        except ConnectionClosed:
            pass
        finally:
            self._places.release()

    def metadata(self) -> dict[str, Any]:
        """Return what a client is told first: what the policy reads and answers."""
        manifest = self._policy.manifest
        seen = manifest.observation
        return {
            "policy": manifest.name,
            "policy_class": manifest.policy_class,
            "tasks": list(self._samplers),
            "cameras": list(seen.cameras),
            "image_resolution": [seen.height_px, seen.width_px],
            "action_horizon": manifest.horizon,
            "execute_steps": manifest.execute_steps,
            "rate_hz": manifest.rate_hz,
            "joint_names": list(manifest.action.joint_names),
        }

    def _serve(self, connection: ServerConnection) -> None:
        previous_ms: float | None = None
        while True:
            message = connection.recv()
            receipt_ns = time.monotonic_ns()
            try:
                result = self._answer(message, receipt_ns)
            except BadRequestError as error:
                _fail(connection, f"bad request: {error}")
                return
            except Exception:  # whatever a model raises, the client learns only that it failed
                LOG.exception("the model failed on a request of an openpi client")
                _fail(connection, "the model failed")
                return
            if result is None:
                continue
            timing = {"infer_ms": result["policy_timing"]["infer_ms"]}
            if previous_ms is not None:
                timing["prev_total_ms"] = previous_ms
            connection.send(pack({**result, "server_timing": timing}))
            previous_ms = (time.monotonic_ns() - receipt_ns) / NS_PER_MS

    def _answer(self, message: bytes | str, receipt_ns: int) -> dict[str, Any] | None:
        """Return the result for a message, None where the latency profile loses it or the server ends."""
        observation = read_observation(message)
        task = task_of(observation, self._samplers)
        inputs = model_inputs(observation, self._policy.manifest, self._policy.horizon(task))
        return self._inference.submit(self._infer, task, inputs, receipt_ns).result()

    def _infer(self, task: str, inputs: ModelInputs, receipt_ns: int) -> dict[str, Any] | None:
        if self._stopped.is_set():
            return None
        self._served += 1
        latency_ns = self._latency.sample(self._rng, receipt_ns - self._begun_ns)
        begin_ns = time.monotonic_ns()
        outputs = self._samplers[task].sample(inputs, Query(Condition.PLAIN, 0, 0, (self._seed, self._served)))
        infer_ns = time.monotonic_ns() - begin_ns
        if latency_ns is None:
            return None
        self._stopped.wait(max(receipt_ns + latency_ns - time.monotonic_ns(), 0) / NS_PER_S)
        return {
            "actions": outputs.actions,
            "state": inputs.state,
            "policy_timing": {"infer_ms": infer_ns / NS_PER_MS},
        }


def _fail(connection: ServerConnection, line: str) -> None:
    connection.send(line)
    connection.close(INTERNAL_ERROR, "the request failed; the reason was sent before")


def _health(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(http.HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None


def listen(front: Front, bind: str, *, insecure: bool = False) -> Server:
    """Return a server that listens at `tcp://HOST:PORT`, a loopback one unless `insecure`, and answers nobody yet.

    Raises:
        UsageError: the endpoint is no such, or reachable from other hosts.
        LeadtimeError: another process has it.
    """
    match = _PORT.fullmatch(check_endpoint(bind, bind=True, exposed=insecure, keyless=True))
    if match is None:
        raise UsageError(f"{bind!r}: a websocket needs a port; bind tcp://127.0.0.1:PORT")
    host = "" if match["host"] == "*" else match["host"].strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0 if match["port"] == "*" else int(match["port"])), family=family)
    except OSError as error:
        raise LeadtimeError(f"{bind} is in use or cannot be bound: {error.strerror}; bind another port") from None
    return serve(
        front.handle,
        sock=Listener(listener, CONNECTIONS_MAX),
        origins=[None],
        compression=None,
        max_size=REQUEST_BYTES_MAX,
        max_queue=FRAMES_BUFFERED,
        open_timeout=OPEN_TIMEOUT_S,
        ping_interval=None,
        close_timeout=CLOSE_TIMEOUT_S,
        process_request=_health,
        server_header=None,
        logger=PEERS_LOG,
    )


def serve_openpi(
    policy: str,
    *,
    bind: str,
    latency: str = "none",
    backend: str = "onnx",
    device: str | None = None,
    threads: int = 1,
    seed: int = 0,
    insecure: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Load and warm up a policy's models and serve them to openpi clients until `stop`; as `serve.serve` otherwise.

    Their wire has no keys: other hosts are served only if told to be `insecure`.

    Raises:
        UsageError: the policy, backend or latency profile is unknown, the endpoint may not be bound, a graph is not
            what the manifest says, or the policy reads the objects' state, which this wire does not carry.
        LeadtimeError: the endpoint is in use.
    """
    profile = parse_latency(latency)
    loaded = load_policy(policy)
    names = [task for task in loaded.tasks if not loaded.shape(task).object_state]
    if not names:
        raise UsageError(
            f"policy {loaded.manifest.name!r} reads the objects' state, which openpi's wire does not carry"
        )
    with ThreadPoolExecutor(1, "inference") as inference:
        load = functools.partial(load_sampler, loaded, backend=backend, threads=threads, device=device)
        samplers = {task: inference.submit(load, task).result() for task in names}
        model_ms = max(inference.submit(model.warm_up).result() for model in samplers.values()) / NS_PER_MS
        front = Front(loaded, samplers, profile, inference, seed)
        # Warm by now: to leave this waits for the end of `serve_forever`, which must have begun.
        with listen(front, bind, insecure=insecure) as server:
            gc.collect()
            gc.freeze()
            serving = threading.Thread(target=server.serve_forever, name="openpi", daemon=True)
            serving.start()
            try:
                if on_ready is not None:
                    host, port = server.socket.getsockname()[:2]
                    slowest = max(samplers.values(), key=lambda model: model.timing.p50_ns if model.timing else 0)
                    tasks = "any task" if names == [ANY_TASK] else ", ".join(names)
                    on_ready(
                        f"serving {loaded.manifest.name} to openpi clients on ws://{_host(host)}:{port} : {backend} on "
                        f"{slowest.provider}, model {slowest.timing}, answers in "
                        f"{max(model_ms, profile.median_ms):.0f} ms (latency {latency}), {tasks}"
                    )
                while not stop():
                    time.sleep(POLL_S)
            finally:
                front.stop()
                server.shutdown()
                serving.join()


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
