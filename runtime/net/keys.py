"""CURVE keys: which rigs may connect to a policy server, and which server a rig trusts. One folder for each side.

A folder holds its side's own pair, `own.key_secret` (read by its owner only) and `own.key` (for the other side). A
server's has `clients/*.key` beside it, the `own.key` of each rig that may connect; a rig's has `server.key`, the
server's `own.key`. Files are in ZeroMQ's certificate format; keys are X25519, in Z85 text.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from zmq.auth import load_certificate
from zmq.utils import z85

from runtime.errors import UsageError
from runtime.files import make_folder, named

SECRET_NAME: Final = "own.key_secret"  # noqa: S105 the name of a file
PUBLIC_NAME: Final = "own.key"
SERVER_NAME: Final = "server.key"
CLIENTS_NAME: Final = "clients"
KEY_CHARACTERS: Final = 40
"""Of a key in Z85 text (ZeroMQ RFC 32): 32 bytes."""
FILE_BYTES_MAX: Final = 4096
DOMAIN: Final = "leadtime"
_MAKE: Final = "leadtime keys --out DIR makes a pair"


@dataclass(frozen=True)
class KeyPair:
    """A side's own key pair, as Z85 text."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> KeyPair:
        """Read a folder's own pair; raises UsageError when it is missing, damaged or readable by others."""
        path = folder / SECRET_NAME
        public, secret = _read(path, _MAKE)
        if secret is None:
            raise UsageError(f"{path} holds no secret key; {_MAKE}")
        if path.stat().st_mode & 0o077:
            raise UsageError(f"{path} can be read by other users; chmod 600 {path}")
        if zmq.curve_public(secret) != public:
            raise UsageError(f"{path}: its public key does not belong to its secret key; {_MAKE}")
        return cls(public, secret)


@dataclass(frozen=True)
class ServerKeys:
    """What a server proves itself with, and the public keys of those that may connect."""

    own: KeyPair
    clients: frozenset[bytes]

    @classmethod
    def load(cls, folder: Path) -> ServerKeys:
        """Read a server's folder; raises UsageError that names the file which is missing or wrong."""
        own = KeyPair.load(folder)
        remedy = f"copy each rig's {PUBLIC_NAME} to {folder / CLIENTS_NAME}/RIG.key"
        files = sorted((folder / CLIENTS_NAME).glob("*.key"))
        if not files:
            raise UsageError(f"{folder / CLIENTS_NAME} holds no *.key file, so nobody could connect; {remedy}")
        return cls(own, frozenset(_read_public(path, remedy) for path in files))

    def guard(self, router: zmq.Socket[bytes]) -> None:
        """Let a socket take keyed connections only, and none at all while nobody watches the gate (`admission`)."""
        router.curve_secretkey = self.own.secret
        router.curve_publickey = self.own.public
        router.curve_server = True
        router.zap_domain = DOMAIN.encode()
        router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether the holder of a key may connect; the name is the authenticator's."""
        return key in self.clients


@dataclass(frozen=True)
class ClientKeys:
    """What a rig proves itself with, and the public key of the server it trusts."""

    own: KeyPair
    server: bytes

    @classmethod
    def load(cls, folder: Path) -> ClientKeys:
        """Read a rig's folder; raises UsageError that names the file which is missing or wrong."""
        own = KeyPair.load(folder)
        path = folder / SERVER_NAME
        remedy = f"copy the server's {PUBLIC_NAME} to {path}"
        server = _read_public(path, remedy)
        if server == own.public:
            raise UsageError(f"{path} is this rig's own key; {remedy}")
        return cls(own, server)

    def present(self, dealer: zmq.Socket[bytes]) -> None:
        """Let a socket connect to the trusted server only, under this rig's key."""
        dealer.curve_secretkey = self.own.secret
        dealer.curve_publickey = self.own.public
        dealer.curve_serverkey = self.server


@contextmanager
def admission(context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys | None) -> Iterator[None]:
    """Watch the gate of a context's guarded sockets while inside; without keys there is none."""
    if keys is None:
        yield
        return
    # Brings an event loop with it, which a server without keys has no use for.
    from zmq.auth.thread import ThreadAuthenticator  # noqa: PLC0415

    gate = ThreadAuthenticator(context)
    gate.start()
    try:
        gate.configure_curve_callback(domain=DOMAIN, credentials_provider=keys)
        yield
    finally:
        gate.stop()


def shut_out(events: int, endpoint: str, keys: ClientKeys | None) -> str:
    """Return what is likely wrong when a connection ended with these events (flags); "" if it is not the keys."""
    if events & zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return f"{endpoint} does not know this rig's key; copy its {PUBLIC_NAME} to the server's {CLIENTS_NAME}/RIG.key"
    if not events & (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
        return ""
    # Which of the two comes depends on who closes first, so what they have in common is said.
    if keys is None:
        return f"{endpoint} ended the handshake; it likely takes rigs with keys only: give --keys"
    return f"{endpoint} ended the handshake; {SERVER_NAME} is not its key or, if it has none, leave out --keys"


def write_pair(folder: Path) -> tuple[Path, Path]:
    """Make a key pair in a folder, which is made if need be; returns the public and the secret file.

    Raises:
        UsageError: the folder has a pair already, or is a file.
    """
    paths = folder / PUBLIC_NAME, folder / SECRET_NAME
    for path in paths:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists and is not overwritten; give another folder, or move it away")
    make_folder(folder)
    public, secret = (key.decode() for key in zmq.curve_keypair())
    _write(paths[1], "SECRET key: never give it away.", {"public-key": public, "secret-key": secret}, 0o600)
    try:
        _write(paths[0], "Public key: for the other side.", {"public-key": public}, 0o644)
    except OSError:
        paths[1].unlink()
        raise
    return paths


def _write(path: Path, remark: str, keys: dict[str, str], mode: int) -> None:
    lines = [f"# Leadtime. {remark}", "curve", *(f'    {name} = "{key}"' for name, key in keys.items())]
    # Made with its permissions: there is no moment at which others could open it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with named(path), os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), mode)
            file.write("\n".join(lines) + "\n")
    except OSError:
        # Half a key is none, and would be in the way of the next.
        path.unlink()
        raise


def _read_public(path: Path, remedy: str) -> bytes:
    public, secret = _read(path, remedy)
    if secret is not None:
        raise UsageError(f"{path} holds a secret key, which must not leave its host; {remedy}")
    return public


def _read(path: Path, remedy: str) -> tuple[bytes, bytes | None]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError
        public, secret = load_certificate(path)
        for key in (public, secret):
            if key is not None and (len(key) != KEY_CHARACTERS or len(z85.decode(key)) != 32):
                raise ValueError
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; {remedy}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, LookupError, ArithmeticError, struct.error):
        raise UsageError(f"{path} is no key file; {remedy}") from None
    return public, secret
