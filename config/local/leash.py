"""Run a command that cannot outlive its starter, not even one that is killed with SIGKILL.

A program of its own rather than a `preexec_fn`: that one is not safe in a process with threads. It needs
nothing but the standard library, so `python -I -S` has it replaced by the command within some 15 ms; the
process id stays.

Usage: python -I -S leash.py PARENT_PID DEATH_SIGNAL UID GID COMMAND [ARGUMENT...]
UID and GID are -1 to stay who we are.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(*, parent_pid: int, death_signal: int) -> None:
    """Have the kernel send this process a signal when its parent dies.

    Only Linux has this; elsewhere nothing happens and the next start cleans up. The kernel watches the
    *thread* that started this process, so start it from one that lives as long as the stack. Exits at once if
    the parent is gone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent_pid:
        sys.exit(f"the process {parent_pid} that started this one is gone")


def _main(*, arguments: list[str]) -> None:
    parent_pid, death_signal, uid, gid = (int(number) for number in arguments[:4])
    command = arguments[4:]
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # Only now: a change of user clears the wish.
    die_with_parent(parent_pid=parent_pid, death_signal=death_signal)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    _main(arguments=sys.argv[1:])
