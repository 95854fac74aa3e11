"""A listening socket for a server with a thread for each connection: strangers cannot end it or fill the host.

The accept loop of the websockets library ends with any error of `accept`, and accepts without a bound. Here errors that
one connection brings, or a moment without descriptors, are waited out, and a connection beyond the bound is closed.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any, Final

PASSING: Final = frozenset(
    (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
)
"""What accept(2) says of the connection, or of a host that is out of something for now."""
PAUSE_S: Final = 0.05
POLL_MS: Final = 200


class Listener(socket.socket):
    """Takes over a bound, listening socket; `connections_max` may be open at once."""

    def __init__(self, bound: socket.socket, connections_max: int) -> None:
        super().__init__(fileno=bound.detach())
        self._connections_max = connections_max
        self._open: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection that there is room for; OSError once this socket is closed."""
        while True:
            # By this poll another thread can close the socket: a blocking accept would not return.
            if not self._readable():
                continue
            try:
                connection, address = super().accept()
            except OSError as error:
                if error.errno not in PASSING:
                    raise
                time.sleep(PAUSE_S)
                continue
            self._open = [each for each in self._open if each.fileno() >= 0]
            if len(self._open) < self._connections_max:
                self._open.append(connection)
                return connection, address
            connection.close()

    def _readable(self) -> bool:
        poller, fd = select.poll(), self.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, "closed")
        poller.register(fd, select.POLLIN)
        # Closed meanwhile it is not readable, and the next look finds it so.
        return any(event & select.POLLIN for _, event in poller.poll(POLL_MS))
