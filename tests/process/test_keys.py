"""CURVE keys: the right pair is answered, any other is not and learns why; files that are wrong are named."""

from __future__ import annotations

import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zmq

from runtime.cli import Run
from runtime.clock import MonotonicClock
from runtime.commands.run import resolve
from runtime.config import load_rig
from runtime.errors import UsageError
from runtime.inference import wire
from runtime.inference.client.connection import Connection
from runtime.inference.handshake import rig_schema
from runtime.net.keys import ClientKeys, ServerKeys, write_pair
from runtime.net.sockets import check_endpoint, open_router
from runtime.states import Link
from tests.fuzz.stray import stray
from tests.process.harness import leadtime
from tests.process.serving import TINY, PlainClient, server

CLOCK = MonotonicClock()
PATIENCE_S = 20.0
ANY_ADDRESS = "tcp://0.0.0.0:*"


@dataclass(frozen=True)
class Folders:
    """A server's folder, that of a rig it knows, and that of one it does not know."""

    server: Path
    rig: Path
    stranger: Path


def make_folders(root: Path) -> Folders:
    folders = Folders(root / "server", root / "rig", root / "stranger")
    for folder in (folders.server, folders.rig, folders.stranger):
        write_pair(folder)
    (folders.server / "clients").mkdir()
    shutil.copy(folders.rig / "own.key", folders.server / "clients" / "rig-1.key")
    for folder in (folders.rig, folders.stranger):
        shutil.copy(folders.server / "own.key", folder / "server.key")
    return folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def own_folders(tmp_path: Path) -> Folders:
    """Folders that a test may spoil."""
    return make_folders(tmp_path)


@pytest.fixture(scope="module")
def keyed(folders: Folders) -> Iterator[str]:
    """The endpoint of `leadtime serve --keys`, bound to every address of this host."""
    with serving("--keys", str(folders.server), "--bind", ANY_ADDRESS) as endpoint:
        yield endpoint


def key_in(path: Path) -> str:
    return path.read_text().split('"')[1]


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", "runtime", "serve", "--policy", str(TINY), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = "" if process.stdout is None else process.stdout.readline()
            yield line.partition(" on ")[2].partition(" : ")[0].replace("0.0.0.0", "127.0.0.1")
        finally:
            process.kill()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        yield made


def shut_out(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: ClientKeys | None) -> str:
    """Let a client try four times, none of them with an answer, and return what its status says then."""
    connection = Connection(context, endpoint, rig_schema(load_rig("sim-x5")), "transfer", keys=keys)
    end, tries = time.monotonic() + PATIENCE_S, 0
    with closing(connection):
        while tries < 4:
            assert time.monotonic() < end, connection.text
            backoff_ns = connection._backoff_ns
            assert connection.step(CLOCK.now_ns()) == []
            assert connection.schema is None
            assert connection.link is Link.CONNECTING
            tries += connection._backoff_ns != backoff_ns
            connection.wait(5)
    return connection.text


def test_the_right_key_is_answered_from_end_to_end(
    context: zmq.Context[zmq.Socket[bytes]], keyed: str, folders: Folders
) -> None:
    with PlainClient(context, keyed, keys=ClientKeys.load(folders.rig)) as client:
        assert isinstance(client.hello(), wire.Welcome)
        client.ask(7, prefix=np.full((4, 14), 0.9, dtype=np.float32))
        chunk, arrays = client.answer()
        assert isinstance(chunk, wire.Chunk)
        assert chunk.request_seq == 7
        assert np.allclose(arrays["actions"][:4], 0.9)


def test_a_key_that_the_server_does_not_know_gets_no_answer(
    context: zmq.Context[zmq.Socket[bytes]], keyed: str, folders: Folders
) -> None:
    text = shut_out(context, keyed, ClientKeys.load(folders.stranger))
    assert "does not know this rig's key; copy its own.key to the server's clients/RIG.key" in text


def test_a_client_that_trusts_another_server_gets_no_answer(
    context: zmq.Context[zmq.Socket[bytes]], keyed: str, own_folders: Folders
) -> None:
    shutil.copy(own_folders.stranger / "own.key", own_folders.rig / "server.key")
    assert "server.key is not its key or" in shut_out(context, keyed, ClientKeys.load(own_folders.rig))


def test_a_plain_client_gets_no_answer_from_a_keyed_server(context: zmq.Context[zmq.Socket[bytes]], keyed: str) -> None:
    assert "likely takes rigs with keys only: give --keys" in shut_out(context, keyed, None)


def test_a_keyed_client_gets_no_answer_from_a_plain_server(
    context: zmq.Context[zmq.Socket[bytes]], folders: Folders, tmp_path: Path
) -> None:
    with server(f"ipc://{tmp_path}/s") as plain:
        text = shut_out(context, plain.endpoint, ClientKeys.load(folders.rig))
    assert "if it has none, leave out --keys" in text


def test_nobody_gets_in_while_the_gate_is_not_watched(
    context: zmq.Context[zmq.Socket[bytes]], folders: Folders, tmp_path: Path
) -> None:
    with (
        open_router(context, f"ipc://{tmp_path}/s", ServerKeys.load(folders.server)) as router,
        zmq.Context() as other,
    ):
        shut_out(other, f"ipc://{tmp_path}/s", ClientKeys.load(folders.rig))
        assert not router.poll(0)


def test_what_is_no_client_at_all_does_no_harm(
    context: zmq.Context[zmq.Socket[bytes]], keyed: str, folders: Folders
) -> None:
    draw = random.Random(1)  # noqa: S311 repeatable, not secret
    with PlainClient(context, keyed, keys=ClientKeys.load(folders.rig)) as client:
        assert isinstance(client.hello(), wire.Welcome)
        for seq in range(1, 11):
            for _ in range(20):
                stray(keyed, draw)
            client.ask(seq)
            assert isinstance(client.answer()[0], wire.Chunk)


def test_a_run_is_driven_by_a_server_with_keys(keyed: str, folders: Folders, tmp_path: Path) -> None:
    finished = leadtime(
        *("run", "--headless", "--policy", keyed, "--keys", str(folders.rig), "--duration-s", "2"),
        *("--out", str(tmp_path / "runs"), "--summary", str(tmp_path / "summary.json")),
    )
    assert finished.returncode == 0, finished.stderr
    assert '"chunks_used": 0' not in (tmp_path / "summary.json").read_text()
    assert (folders.rig / "own.key_secret").read_text() not in finished.stdout


@pytest.mark.parametrize("arguments", [(), ("--keys", "{server}", "--insecure")])
def test_serving_other_hosts_needs_keys_or_an_explicit_word(folders: Folders, arguments: tuple[str, ...]) -> None:
    words = [word.format(server=folders.server) for word in arguments]
    finished = leadtime("serve", "--policy", str(TINY), "--bind", ANY_ADDRESS, *words)
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "--keys" in finished.stderr
    assert "--insecure" in finished.stderr


def test_it_serves_other_hosts_without_keys_when_told_so(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with (
        serving("--insecure", "--bind", ANY_ADDRESS) as endpoint,
        PlainClient(context, endpoint) as client,
    ):
        assert isinstance(client.hello(), wire.Welcome)
    assert check_endpoint(ANY_ADDRESS, bind=True, exposed=True) == ANY_ADDRESS


def test_the_command_makes_a_pair_that_only_its_owner_reads_and_never_overwrites_one(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "keys"
    made = leadtime("keys", "--out", str(folder))
    assert made.returncode == 0, made.stderr
    secret, public = folder / "own.key_secret", folder / "own.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert "secret-key" not in public.read_text()
    texts = secret.read_text(), public.read_text()
    assert texts[0].split("secret-key")[1].split('"')[1] not in made.stdout
    for kept in (secret, public):
        again = leadtime("keys", "--out", str(folder))
        assert again.returncode == 2
        assert "is not overwritten" in again.stderr
        assert kept.exists()
    assert (secret.read_text(), public.read_text()) == texts
    public.unlink()
    with pytest.raises(UsageError, match=r"own\.key_secret exists"):
        write_pair(folder)
    assert not public.exists()
    with pytest.raises(UsageError, match="give a folder, not a file"):
        write_pair(secret)


def test_every_file_that_is_missing_or_wrong_is_named(own_folders: Folders) -> None:
    rig, home = own_folders.rig, own_folders.server
    secret = (rig / "own.key_secret").read_text()

    def complaint(load: type[ServerKeys] | type[ClientKeys], folder: Path) -> str:
        with pytest.raises(UsageError) as caught:
            load.load(folder)
        assert "\n" not in str(caught.value)
        assert "secret-key" not in str(caught.value)
        return str(caught.value)

    (rig / "own.key_secret").chmod(0o640)
    assert f"{rig}/own.key_secret can be read by other users; chmod 600" in complaint(ClientKeys, rig)
    (rig / "own.key_secret").chmod(0o600)
    for text, part in (
        ("", "is no key file"),
        (secret.replace('"', '"#'), "is no key file"),
        (secret[: len(secret) - 6], "is no key file"),
        (secret.replace("secret-key", "lost-key"), "holds no secret key"),
        ("x" * 5000, "is no key file"),
        (secret.replace(*(key_in(f / "own.key") for f in (rig, own_folders.stranger))), "does not belong to"),
    ):
        (rig / "own.key_secret").write_text(text)
        said = complaint(ClientKeys, rig)
        assert part in said
        assert f"{rig}/own.key_secret" in said
    (rig / "own.key_secret").unlink()
    assert "own.key_secret does not exist; leadtime keys --out DIR makes a pair" in complaint(ClientKeys, rig)

    stranger = own_folders.stranger
    shutil.copy(stranger / "own.key", stranger / "server.key")
    assert "server.key is this rig's own key" in complaint(ClientKeys, stranger)
    (stranger / "server.key").unlink()
    assert "server.key does not exist; copy the server's own.key" in complaint(ClientKeys, stranger)

    (home / "clients" / "rig-1.key").write_bytes(b'public-key = "\xff"\n')
    assert "clients/rig-1.key is no key file; copy each rig's own.key" in complaint(ServerKeys, home)
    (home / "clients" / "rig-1.key").write_text(secret)
    assert "clients/rig-1.key holds a secret key, which must not leave its host" in complaint(ServerKeys, home)
    (home / "clients" / "rig-1.key").unlink()
    assert "so nobody could connect" in complaint(ServerKeys, home)
    (home / "clients" / "folder.key").mkdir()
    assert "clients/folder.key cannot be read" in complaint(ServerKeys, home)


def test_keys_for_a_policy_that_is_no_endpoint_are_refused(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for the endpoint of a policy server, not for demo"):
        resolve(Run(keys=folders.rig, out=tmp_path), load_rig("sim-x5"))
    assert not [*tmp_path.iterdir()]


def test_the_secret_is_in_no_text_of_the_keys(folders: Folders) -> None:
    keys = ClientKeys.load(folders.rig)
    assert keys.own.secret.decode() not in repr(keys)
