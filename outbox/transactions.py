"""What must hold about the open transaction: publishing needs one, the network forbids one, a conflict repeats it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import structlog
from django.db import InterfaceError, InternalError, OperationalError, connections, transaction

from outbox.metrics import CONFLICTS

log = structlog.get_logger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Two transactions that met, deadlock and serialization failure among them: one of them was undone and only has to be
# run again.
_CONFLICT = "40"
# One that loses so often has not met somebody: something is wrong with the order of locks.
_RUNS = 6
# The pause before the n-th repetition is random, below n times this: whoever met must not meet again.
_CONFLICT_PAUSE_SECONDS = 0.02

# Beginnings of the SQLSTATE of what passes by itself: connection lost, deadlock and serialization failure, out of
# resources, lock not to be had, server shutting down, system error.
_PASSING = ("08", "40", "53", "55P03", "57P", "58")
# A standby that only reads, a session that was ended because its transaction lay idle.
_INTERNAL_BUT_PASSING = ("25006", "25P03")


class OutsideTransaction(RuntimeError):
    """A message is written with the change it tells of: open a transaction around both."""


class InsideTransaction(RuntimeError):
    """No network call while a transaction is open: it would hold locks for as long as the other side likes."""


def require_transaction(using: str) -> None:
    """Raise `OutsideTransaction` unless a transaction is open on this connection."""
    if not connections[using].in_atomic_block:
        raise OutsideTransaction(f"no transaction is open on database {using!r}; use transaction.atomic()")


def assert_no_transaction() -> None:
    """Raise `InsideTransaction` if a transaction is open on any connection of this thread."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            raise InsideTransaction(f"a transaction is open on database {connection.alias!r}")


def on_commit(function: Callable[[], None], using: str) -> None:
    """Call the function once the transaction has committed; its failure never reaches the caller."""
    transaction.on_commit(function, using=using, robust=True)


def rerun_on_conflict(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run the function again when its transaction has lost a deadlock or could not be serialized.

    For what is one transaction as a whole, and does nothing beside it. A function that is called in an open transaction
    is not run again, since all of that is lost: who opened it has to. Raises the conflict after 6 runs.
    """

    @wraps(function)
    def run(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        for number in range(1, _RUNS):
            try:
                return function(*arguments, **options)
            except OperationalError as error:
                if not is_conflict(error) or _is_in_transaction():
                    raise
                CONFLICTS.inc()
                log.info("outbox.transaction.repeated", run=number, error=type(error.__cause__).__name__)
            time.sleep(random.uniform(0, number * _CONFLICT_PAUSE_SECONDS))  # noqa: S311 - jitter, not a secret
        return function(*arguments, **options)

    return run


def is_conflict(error: Exception) -> bool:
    """Tell whether two transactions met and this one was undone; nothing is wrong with either."""
    return isinstance(error, OperationalError) and (_state(error) or "").startswith(_CONFLICT)


def is_passing(error: Exception) -> bool:
    """Tell whether it is the database's trouble, which passes by itself, and not that of what was asked of it."""
    if isinstance(error, InternalError):
        return (_state(error) or "").startswith(_INTERNAL_BUT_PASSING)
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = _state(error)
    return state is None or state.startswith(_PASSING)


def _state(error: Exception) -> str | None:
    state: str | None = getattr(error.__cause__, "sqlstate", None)
    return state


def _is_in_transaction() -> bool:
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
