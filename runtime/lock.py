"""One instance per rig: an abstract Unix socket that the kernel frees with its process, leaving no file."""

from __future__ import annotations

import errno
import socket

from runtime.errors import LeadtimeError


class RigLock:
    """Holds a rig for this process; refuses when another process of this host has it."""

    def __init__(self, rig: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(f"\0leadtime-rig-{rig}")
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise LeadtimeError(
                f"rig {rig} is in use by another leadtime run on this host; stop it, or choose another --rig"
            ) from None

    def release(self) -> None:
        """Let the rig go."""
        self._socket.close()
