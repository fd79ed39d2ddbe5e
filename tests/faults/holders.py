"""Relays that take work and are killed with it: many processes from one, so that they start in no time.

Each runs the product's relay as it is, but stamps its claims with a token that tells its process id.

Usage: python -m tests.faults.holders LANE PROCESSES PARENT_PID
"""

from __future__ import annotations

import os
import signal
import sys
import time
from uuid import UUID

import django

from config.local.leash import die_with_parent


def token_of(pid: int) -> UUID:
    """Return the token that the process of this id claims with."""
    return UUID(int=pid)


def main(*, lane: str, processes: int, parent: int) -> None:
    """Start the relays and stay until they are killed."""
    die_with_parent(parent_pid=parent, death_signal=signal.SIGKILL)
    django.setup()
    children = [_fork(lane) for _ in range(processes)]
    print(*children, flush=True)
    for child in children:
        os.waitpid(child, 0)


def _fork(lane: str) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    die_with_parent(parent_pid=parent, death_signal=signal.SIGKILL)
    from outbox import claims, relay

    vars(claims)["uuid4"] = lambda: token_of(os.getpid())
    while True:
        relay.run(lane=lane)
        time.sleep(0.1)


if __name__ == "__main__":
    main(lane=sys.argv[1], processes=int(sys.argv[2]), parent=int(sys.argv[3]))
