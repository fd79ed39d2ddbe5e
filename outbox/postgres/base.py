"""PostgreSQL as Django speaks to it, but nobody waits for ever for an answer.

`statement_timeout` is the server's, so it says nothing of a server that hangs, or of a network that swallows what is
sent and still keeps the connection open. TCP notices only a far end that acknowledges nothing. So the client has an end
to its patience too, a little after the server's: it then drops the connection as lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg.errors import _WaitTimeout


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that waits at most `OPTIONS["patience"]` seconds for an answer; for ever without it."""

    def get_connection_params(self) -> dict[str, Any]:
        """Return what psycopg takes to connect."""
        parameters = super().get_connection_params()
        parameters.pop("patience", None)
        return parameters

    def get_new_connection(self, conn_params: Any) -> Any:
        """Connect. Raises `OperationalError`, in the time of `connect_timeout` for each address."""
        connection = super().get_new_connection(conn_params)
        patience = self.settings_dict["OPTIONS"].get("patience")
        if patience:
            connection.wait = _patiently(connection, patience)
        return connection


def _patiently(connection: psycopg.Connection[Any], patience: float) -> Callable[..., Any]:
    wait = connection.wait

    def wait_so_long(generator: Any, *arguments: Any, **options: Any) -> Any:
        options.setdefault("timeout", patience)
        try:
            return wait(generator, *arguments, **options)
        except _WaitTimeout as error:
            # What comes now would be taken for the answer to the next question.
            connection.pgconn.finish()
            raise psycopg.OperationalError(f"the database has not answered for {patience:g} s") from error

    return wait_so_long
