"""`leadtime keys`: a key pair for a policy server or for a rig."""

from __future__ import annotations

import sys

from runtime.cli import Keys
from runtime.net.keys import CLIENTS_NAME, SERVER_NAME, write_pair


def keys(command: Keys) -> int:
    """Make the pair and say where its files go; returns the exit status."""
    public, secret = write_pair(command.out)
    sys.stdout.write(
        f"{secret}: stays here\n"
        f"{public}: of a rig, goes to the server's {CLIENTS_NAME}/RIG.key; of a server, to each rig's {SERVER_NAME}\n"
    )
    return 0
