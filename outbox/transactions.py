"""What must hold about the open transaction: publishing needs one, the network forbids one."""

from __future__ import annotations

from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connections, transaction

# Beginnings of the SQLSTATE of what passes by itself: connection lost, deadlock and serialization failure, out of
# resources, lock not to be had, server shutting down, system error.
_PASSING = ("08", "40", "53", "55P03", "57P", "58")


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


def is_passing(error: Exception) -> bool:
    """Tell whether it is the database's trouble, which passes by itself, and not that of what was asked of it."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state: str | None = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(_PASSING)
