"""A policy of LeRobot, served where LeRobot is installed, answers our clients with LeRobot's own chunk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from runtime.clock import MonotonicClock
from runtime.inference import wire
from runtime.inference.lerobot_host import ServedLeRobot
from runtime.inference.lerobot_load import Options
from runtime.inference.lerobot_policy import LeRobotPolicy
from runtime.inference.server import session
from runtime.inference.server.latency import parse_latency
from runtime.inference.server.server import PolicyServer
from runtime.net.keys import ClientKeys
from runtime.net.sockets import open_router
from tests.process.serving import PlainClient, observation
from tests.process.test_keys import make_folders, shut_out

INSTALLED = importlib.util.find_spec("lerobot") is not None and importlib.util.find_spec("torchvision") is not None
RECENT = INSTALLED and [int(part) for part in importlib.metadata.version("lerobot").split(".")[:2]] >= [0, 6]
needs_lerobot = pytest.mark.skipif(not INSTALLED, reason="LeRobot is not installed")
HORIZON = 20
# A torchvision for CUDA beside a torch without it does not import by itself.
_HOST = """
import os
import sys
from bench.decoupling.peers import lerobot_import

lerobot_import.import_torchvision()
if "TINY" in os.environ:
    from tests.process import tiny_hub

    tiny_hub.shrink(os.environ["TINY"])
from runtime.inference.lerobot_host import main

sys.exit(main())
"""
KINDS = {"act": 20, "diffusion": 8, "vqbet": 5, "tdmpc": 5, "smolvla": 10}
"""Types of policy, and how many steps the chunk of a small one has."""
NEWER = {"pi0": 10, "pi05": 10, "fastwam": 8, "fastwam-blind": 8, "vla_jepa": 10, "vla_jepa-blind": 10}
"""Those of LeRobot 0.6, which needs Python 3.12. A `-blind` one does not read the joints."""
LENGTHS = {**KINDS, **NEWER}
needs_newer = pytest.mark.skipif(not RECENT, reason="LeRobot is older than 0.6")


def environment(folder: Path, kind: str) -> dict[str, str]:
    """Return that of a process whose hub is the folder's."""
    tiny = {"TINY": kind} if kind.startswith("pi0") else {}
    return {**os.environ, **tiny, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}


def made(folder: Path, kind: str = "act", joints: int = 14) -> Path:
    """Make a small policy with random weights, and its chunks."""
    command = [sys.executable, "-m", "tests.process.tiny_lerobot", kind, str(folder), str(joints)]
    subprocess.run(command, check=True, capture_output=True, env=environment(folder, kind))
    return folder


@contextmanager
def served(kind: str, folder: Path) -> Iterator[str]:
    """Serve a policy meanwhile, at the endpoint that is given."""
    command = [
        sys.executable,
        "-c",
        _HOST,
        "--policy",
        str(folder),
        "--bind",
        "tcp://127.0.0.1:*",
        "--rename",
        f"{'image' if kind == 'tdmpc' else 'top'}=cam_high",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(folder, kind)
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("serving ")
            assert f"{folder.name} on tcp://127.0.0.1:" in line
            yield line.partition(" on ")[2].partition(" : ")[0]
        finally:
            # As a shell and a supervisor do, one beside the other.
            process.terminate()
            process.terminate()
            process.communicate()
    assert process.returncode == 0
    assert f" : LeRobot {kind.partition('-')[0]}, " in line


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("act"))


@pytest.fixture(scope="module")
def endpoint(act: Path) -> Iterator[str]:
    with served("act", act) as where:
        yield where


@pytest.fixture
def client(endpoint: str) -> Iterator[PlainClient]:
    with zmq.Context() as context, PlainClient(context, endpoint) as made_client:
        yield made_client


@needs_lerobot
@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=needs_newer) for kind in NEWER)])
def test_the_chunks_of_an_episode_are_lerobots_own_with_its_processors(kind: str, tmp_path: Path) -> None:
    """Each is made of what the policy looks back on in this episode, and of nothing that was seen before."""
    if kind == "smolvla":
        pytest.importorskip("transformers")
    folder = made(tmp_path, kind)
    expected = np.load(folder / "chunks.npy")
    assert np.abs(expected[0] - expected[1]).max() > 1e-4
    with served(kind, folder) as where, zmq.Context() as context, PlainClient(context, where) as client:
        for _ in range(2):
            welcome = client.hello()
            assert isinstance(welcome, wire.Welcome)
            assert welcome.door
            schema = welcome.schema
            assert (schema.horizon, schema.cameras) == (LENGTHS[kind], ("cam_high",))
            assert schema.execute_steps == max(LENGTHS[kind] // 4, 1)
            assert (schema.width_px, schema.height_px, schema.velocity) == (320, 240, False)
            assert schema.conditions == ("plain",)
            for seq, grey in ((3, 10), (4, 200)):
                client.ask(seq, **{"image/cam_high": np.full((240, 320, 3), grey, np.uint8)})
                chunk, arrays = client.answer()
                assert isinstance(chunk, wire.Chunk)
                assert (chunk.request_seq, chunk.obs_seq) == (seq, seq + 100)
                assert chunk.server_ns >= chunk.infer_ns > 0
                assert np.abs(arrays["actions"] - expected[seq - 3]).max() < 1e-5


@needs_newer
def test_lingbot_va_is_told_what_was_executed_and_seen(tmp_path: Path) -> None:
    """Its chunks are those of LeRobot's `select_action`, which gathers that tick by tick."""
    kind = "lingbot_va-blind"
    folder = made(tmp_path, kind)
    expected = [chunk for _, chunk in sorted(np.load(folder / "episode.npz").items())]
    assert [len(chunk) for chunk in expected] == [4, 8, 8]
    with served(kind, folder) as where, zmq.Context() as context, PlainClient(context, where) as client:
        for _ in range(2):
            welcome = client.hello()
            assert isinstance(welcome, wire.Welcome)
            assert (welcome.schema.horizon, welcome.schema.execute_steps, welcome.schema.key_every) == (8, 4, 1)
            assert (welcome.schema.cameras, welcome.schema.stateful) == (("cam_high",), True)
            told: dict[str, Any] = {}
            tick = 0
            for seq, chunk in enumerate(expected):
                client.ask(seq, **{"image/cam_high": grey(tick), **told})
                answered, arrays = client.answer()
                assert isinstance(answered, wire.Chunk)
                assert np.abs(arrays["actions"][: len(chunk)] - chunk).max() < 1e-5
                # The first chunk is a frame shorter; its last target is held.
                assert (arrays["actions"][len(chunk) :] == arrays["actions"][len(chunk) - 1]).all()
                seen = np.arange(1, len(chunk))
                told = {
                    "executed_tick": tick,
                    "executed": arrays["actions"][: len(chunk)],
                    "key/cam_high": np.stack([grey(tick + each) for each in seen]),
                    "key_state": np.full((len(seen), 14), 0.1, np.float32),
                    "key_tick": seen.astype(np.int64),
                }
                tick += len(chunk)


@needs_newer
def test_a_lingbot_va_that_moves_hands_wants_to_know_the_arms(tmp_path: Path) -> None:
    kind = "lingbot_va-blind"
    host, policy = ("-c", _HOST), ("--policy", str(made(tmp_path, kind, joints=16)), *ANY_PORT)
    refused(
        host, policy, 2, "gives poses of two hands; say which arms it drives: --arms MODEL", environment(tmp_path, kind)
    )


def grey(tick: int) -> NDArray[np.uint8]:
    """Return the picture of a tick of LingBot-VA's episode."""
    return np.full((240, 320, 3), 10 + 10 * tick, np.uint8)


@needs_lerobot
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"prefix": np.zeros((3, 14), np.float32)}, "condition 'prefix'; this policy can do plain"),
        ({"state": None}, "array 'state' is missing"),
        ({"state": np.full(14, np.nan, np.float32)}, "array 'state' holds NaN or infinity"),
        ({"image/cam_high": np.zeros((480, 640, 3), np.uint8)}, "u1 (240, 320, 3) was agreed"),
    ],
)
def test_a_bad_request_is_refused_and_the_next_is_answered(
    client: PlainClient, change: dict[str, Any], part: str
) -> None:
    client.hello()
    client.ask(1, **change)
    error, _ = client.answer()
    assert isinstance(error, wire.Error)
    assert (error.code, error.request_seq) == ("bad_request", 1)
    assert part in error.reason
    client.ask(2)
    assert isinstance(client.answer()[0], wire.Chunk)


@needs_lerobot
def test_a_client_is_heard_while_others_are_served_and_garbage_harms_nobody(client: PlainClient, endpoint: str) -> None:
    with zmq.Context() as context, PlainClient(context, endpoint, "other") as other:
        other.session = "s999"
        other.ask(1)
        error, _ = other.answer()
        assert isinstance(error, wire.Error)
        assert error.code == "no_session"
        other.socket.send_multipart([b"\xff" * 40, b"", b"x"])
        assert isinstance(other.answer()[0], wire.Error)
        for each in (client, other):
            each.hello()
        for each in (client, other):
            each.ask(1)
            each.send(wire.Ping(session=each.session))
        for each in (client, other):
            assert {type(each.answer()[0]) for _ in range(2)} == {wire.Chunk, wire.Pong}


@needs_lerobot
def test_of_several_requests_the_newest_is_answered(client: PlainClient) -> None:
    client.hello()
    for seq in range(1, 6):
        client.ask(seq)
    answers = [client.answer()[0] for _ in range(5)]
    assert {answer.request_seq for answer in answers} == {1, 2, 3, 4, 5}
    assert isinstance(answers[-1], wire.Chunk)
    assert answers[-1].request_seq == 5
    assert any(isinstance(answer, wire.Superseded) for answer in answers)


class StandIn:
    """A policy that is let think by a test, once a request; `asked` are the seeds of its requests."""

    kind, cameras, size_px, horizon, execute_steps, latency_ms = "act", ("cam_high",), (320, 240), HORIZON, 5, 1.0
    options = Options("act", "cpu", 50, 0, "rad", {})

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.begun, self.let = threading.Semaphore(0), threading.Semaphore(0)

    def reset(self) -> None:
        """Begin an episode."""

    def infer(self, _pictures: Any, _state: Any, _prompt: str, seed: int) -> Any:
        self.asked.append(seed)
        self.begun.release()
        assert self.let.acquire(timeout=10.0)
        return np.zeros((HORIZON, 14), np.float32)


@pytest.fixture
def hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StandIn, list[PlainClient]]]:
    """A host of a policy that is stood in for, with two places, and three clients."""
    monkeypatch.setattr(ServedLeRobot, "places", 2)
    policy, ended, endpoint = StandIn(), threading.Event(), f"ipc://{tmp_path}/s"
    with zmq.Context() as context, open_router(context, endpoint) as router:
        served = ServedLeRobot(policy)  # type: ignore[arg-type]
        hosting = PolicyServer(router, served, parse_latency("none"), clock=MonotonicClock())
        thread = threading.Thread(target=hosting.run, args=(ended.is_set,))
        thread.start()
        clients = [PlainClient(context, endpoint, name) for name in ("one", "two", "three")]
        yield policy, clients
        policy.let.release()
        ended.set()
        thread.join()
        for each in clients:
            each.socket.close()


def heard(client: PlainClient) -> wire.Message:
    """What a client hears after a ping."""
    client.send(wire.Ping(session=client.session))
    return client.answer()[0]


def test_a_client_that_works_keeps_its_place_and_one_that_is_quiet_loses_it(
    hosted: tuple[StandIn, list[PlainClient]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = hosted[1]
    assert isinstance(one.hello(), wire.Welcome)
    assert isinstance(two.hello(), wire.Welcome)
    refused = three.hello()
    assert isinstance(refused, wire.Error)
    assert (refused.code, refused.reason) == ("busy", "every place of this server is taken")
    assert isinstance(heard(one), wire.Pong)
    monkeypatch.setattr(session, "IDLE_NS", 0)
    assert isinstance(three.hello(), wire.Welcome)
    assert isinstance(heard(one), wire.Pong)
    forgotten = heard(two)
    assert isinstance(forgotten, wire.Error)
    assert forgotten.code == "no_session"


def test_what_is_cancelled_is_neither_begun_nor_answered(hosted: tuple[StandIn, list[PlainClient]]) -> None:
    policy, (client, *_) = hosted
    client.hello()
    client.ask(1, seed=0)
    assert policy.begun.acquire(timeout=10.0)
    client.ask(2, seed=0)
    for seq in (2, 1):
        client.send(wire.Cancel(session=client.session, request_seq=seq))
    assert isinstance(heard(client), wire.Pong)
    policy.let.release()
    client.ask(3, seed=0)
    policy.let.release()
    chunk, _ = client.answer()
    assert isinstance(chunk, wire.Chunk)
    assert chunk.request_seq == 3
    assert policy.asked == [1, 3]


def test_a_cancellation_that_is_for_another_request_or_session_changes_nothing(
    hosted: tuple[StandIn, list[PlainClient]],
) -> None:
    policy, (client, *_) = hosted
    client.hello()
    client.ask(1)
    assert policy.begun.acquire(timeout=10.0)
    for name, seq in ((client.session, 2), ("s999", 1)):
        client.send(wire.Cancel(session=name, request_seq=seq))
    assert isinstance(heard(client), wire.Pong)
    policy.let.release()
    assert isinstance(client.answer()[0], wire.Chunk)


_ZEROS = """
import sys
from types import SimpleNamespace
import numpy as np
from runtime.inference import lerobot_host


class Zeros:
    kind, cameras, size_px, horizon, execute_steps, latency_ms = "act", ("cam_high",), (320, 240), 20, 5, 1.0

    def __init__(self, loaded, options):
        self.options = options

    def reset(self):
        pass

    def infer(self, *_):
        return np.zeros((20, 14), np.float32)


lerobot_host.load = lambda options: SimpleNamespace(config=SimpleNamespace(type="act"))
lerobot_host.LeRobotPolicy = Zeros
sys.exit(lerobot_host.main())
"""


@pytest.mark.parametrize("keyed", [True, False])
def test_it_serves_other_hosts_with_keys_or_when_told_so(tmp_path: Path, *, keyed: bool) -> None:
    folders = make_folders(tmp_path)
    safety = ("--keys", str(folders.server)) if keyed else ("--insecure",)
    command = [sys.executable, "-c", _ZEROS, "--policy", "zeros", "--bind", "tcp://0.0.0.0:*", *safety]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            where = process.stdout.readline().partition(" on ")[2].partition(" : ")[0].replace("0.0.0.0", "127.0.0.1")
            keys = ClientKeys.load(folders.rig) if keyed else None
            with zmq.Context() as context, PlainClient(context, where, keys=keys) as client:
                assert isinstance(client.hello(), wire.Welcome)
                client.ask(1)
                assert isinstance(client.answer()[0], wire.Chunk)
                if keyed:
                    assert "it likely takes rigs with keys only" in shut_out(context, where, None)
        finally:
            process.terminate()
            process.communicate()
    assert process.returncode == 0


def test_a_rig_that_does_not_fit_is_refused(hosted: tuple[StandIn, list[PlainClient]]) -> None:
    policy, (client, *_) = hosted
    policy.options = Options("act", "cpu", 30, 0, "rad", {})
    refusal = client.hello()
    assert isinstance(refusal, wire.Refused)
    assert refusal.reason == "policy 'act' acts at 30 Hz, rig 'sim-x5' at 50 Hz"
    policy.options = Options("act", "cpu", 50, 0, "rad", {}, arms="piper")
    refusal = client.hello()
    assert isinstance(refusal, wire.Refused)
    assert "piper" in refusal.reason


PLAIN = ("-m", "runtime.inference.lerobot_host")
ANY_PORT = ("--bind", "tcp://127.0.0.1:*")


def refused(
    program: tuple[str, ...], options: tuple[str, ...], status: int, part: str, env: dict[str, str] | None = None
) -> None:
    ended = subprocess.run([sys.executable, *program, *options], capture_output=True, text=True, check=False, env=env)
    assert ended.returncode == status
    line = ended.stderr.strip().splitlines()[-1]
    assert line.startswith("leadtime: ")
    assert part in line
    assert "Traceback" not in ended.stderr


def test_a_wrong_option_is_refused_in_a_line() -> None:
    refused(PLAIN, ("--policy", "act", "--rename", "front"), 2, "--rename takes MODEL=RIG, for instance")
    refused(
        PLAIN,
        ("--policy", "act", "--bind", "tcp://0.0.0.0:8790"),
        2,
        "give --keys DIR, bind tcp://127.0.0.1:8790 or ipc://PATH, or accept it with --insecure",
    )
    refused(PLAIN, ("--policy", "act", "--rate-hz", "0"), 2, "--rate-hz 0: give the rate of the actions, 1 to 1000 Hz")
    refused(PLAIN, ("--policy", "act", "--execute-steps", "-1"), 2, "--execute-steps -1: give a number of steps, or 0")
    refused(PLAIN, ("--policy", "act", "--arms", "x6"), 2, "unknown arm model; valid: ")
    refused(PLAIN, ("--policy", "act", "--keys", "k", "--insecure"), 2, "leave out one of --keys and --insecure")
    refused(PLAIN, ("--policy", "act", "--keys", "no"), 2, "no/own.key_secret does not exist; leadtime keys --out DIR")


@needs_lerobot
def test_what_is_not_a_policy_of_two_arms_with_these_cameras_is_refused(act: Path, tmp_path: Path) -> None:
    host = ("-c", _HOST)
    refused(host, ("--policy", str(act), *ANY_PORT, "--rename", "front=cam_high"), 2, "front: no camera of this policy")
    seven = str(made(tmp_path / "seven", joints=7))
    refused(host, ("--policy", seven, *ANY_PORT), 2, "its state is (7,); this rig needs (14,)")
    refused(host, ("--policy", str(tmp_path), *ANY_PORT), 1, "LeRobot cannot load policy")


@needs_newer
def test_a_policy_whose_weights_do_not_fit_is_refused(tmp_path: Path) -> None:
    """LeRobot prints that pi0's do not, and goes on with random ones."""
    from safetensors import numpy as safetensors

    weights = made(tmp_path, "pi0") / "model.safetensors"
    held = safetensors.load_file(weights)
    held.popitem()
    safetensors.save_file(held, weights)
    part = f"LeRobot cannot load the weights of policy {tmp_path}; it would act at random"
    refused(("-c", _HOST), ("--policy", str(tmp_path), *ANY_PORT), 1, part, environment(tmp_path, "pi0"))


def test_a_policy_whose_processor_makes_something_else_of_the_pictures_is_given_that() -> None:
    """GR00T's packs them for its backbone and takes them out of the batch (LeRobot 0.4.4, processor_groot.py)."""
    policy = object.__new__(LeRobotPolicy)
    policy._policy, policy._populate = object(), lambda _queues, _batch: None
    policy._keys = {"top": "observation.images.top"}
    assert policy._observed({"eagle_pixel_values": 1, "state": 2, "action": None}) == {
        "eagle_pixel_values": 1,
        "state": 2,
    }


@pytest.mark.skipif(INSTALLED, reason="LeRobot is installed")
def test_without_lerobot_it_says_where_to_run_it() -> None:
    refused(PLAIN, ("--policy", "act", *ANY_PORT), 1, "run this where LeRobot is installed: ")


@pytest.mark.parametrize(("part", "own"), [("host", ("PIL",)), ("lingbot", ())])
def test_it_needs_little_of_us(part: str, own: tuple[str, ...]) -> None:
    """What it imports is there beside LeRobot: numpy, pyzmq and msgspec, and Pillow for LingBot-VA."""
    heavy = ("onnxruntime", "mujoco", "ruckig", "tyro", "yaml", "torch", "websockets", "msgpack", *own)
    program = (
        f"import sys; import runtime.inference.lerobot_{part}; "
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stderr.strip() == ""


def test_the_request_of_the_tests_is_what_the_policy_was_asked_directly() -> None:
    given = observation()
    assert np.all(given["image/cam_high"] == 10)
    assert np.allclose(given["state"], 0.1)
