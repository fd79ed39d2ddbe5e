"""Free loopback ports for what the local stack starts."""

import secrets
import socket

# Below the range from which the system takes the ports of outgoing connections: a server that is restarted
# must find its own port free.
_FIRST_PORT, _LAST_PORT = 20000, 32000


def is_free(port: int) -> bool:
    """Tell whether a server can listen on the loopback port right now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a free loopback port, chosen at random so that two stacks started at once do not meet."""
    while True:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if is_free(port):
            return port
