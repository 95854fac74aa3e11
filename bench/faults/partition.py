"""A network of its own for the policy server: a namespace of the kernel's, joined by one link that can be cut."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NAME: Final = "leadtime-faults"
HERE: Final = "ltf0"
THERE: Final = "ltf1"
PORT: Final = 18790
ENDPOINT: Final = f"tcp://10.213.7.2:{PORT}"
_CLONE_NEWNET: Final = 0x40000000


def _ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@contextmanager
def namespace() -> Iterator[bool]:
    """Make the namespace and its link; yields False where this host does not permit it."""
    made = (
        _ip("netns", "add", NAME)
        and _ip("link", "add", HERE, "type", "veth", "peer", "name", THERE)
        and _ip("link", "set", THERE, "netns", NAME)
        and _ip("addr", "add", "10.213.7.1/24", "dev", HERE)
        and _ip("link", "set", HERE, "up")
        and _ip("-n", NAME, "addr", "add", "10.213.7.2/24", "dev", THERE)
        and _ip("-n", NAME, "link", "set", THERE, "up")
        and _ip("-n", NAME, "link", "set", "lo", "up")
    )
    try:
        yield made
    finally:
        _ip("link", "del", HERE)
        _ip("netns", "del", NAME)


def cut(*, down: bool) -> None:
    """Take the link down, or up again: packets are lost without a word, as behind a switch that lost power."""
    _ip("-n", NAME, "link", "set", THERE, "down" if down else "up")


def enter() -> None:
    """Move this process into the namespace."""
    descriptor = os.open(Path("/run/netns") / NAME, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)
