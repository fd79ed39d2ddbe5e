"""The servers that a program needs: those that the environment names, or embedded ones meanwhile."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from config.local.folder import FolderHeld, StateFolder
from config.local.postgres import ensure_database, start_postgres
from config.local.processes import Supervisor
from config.local.valkey import start_valkey

DATABASE_NAME = "saga_bridge"
# A command waits this long for another program that holds the folder to finish, or to be up.
_PATIENCE_SECONDS = 60.0


def start_servers(
    *,
    supervisor: Supervisor,
    folder: StateFolder,
    database: str = DATABASE_NAME,
    is_fresh: bool = False,
    is_durable: bool = True,
    given: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Start the servers that the given environment does not name; return the settings that name all.

    A given database is used as it is; an embedded one is created, anew if `is_fresh`. Settings that tell of
    an embedded server also say so in `SAGA_BRIDGE_EMBEDDED`, for production refuses those.

    Raises:
        LocalStackError: a server cannot be started.
    """
    servers = {name: given[name] for name in ("DATABASE_URL", "REDIS_URL") if given.get(name)}
    if "DATABASE_URL" not in servers:
        cluster = start_postgres(supervisor=supervisor, folder=folder, is_durable=is_durable)
        servers["DATABASE_URL"] = ensure_database(cluster=cluster, name=database, is_fresh=is_fresh)
        servers["SAGA_BRIDGE_EMBEDDED"] = "yes"
    if "REDIS_URL" not in servers:
        servers["REDIS_URL"] = start_valkey(supervisor=supervisor, folder=folder)
        servers["SAGA_BRIDGE_EMBEDDED"] = "yes"
    return servers


@contextmanager
def servers_for_command(*, name: str, folder: StateFolder) -> Iterator[None]:
    """Complete `os.environ` for one command: from the running stack, or from servers started for it.

    Raises:
        LocalStackError: the servers cannot be started, or another program holds the folder for too long.
    """
    with ExitStack() as scope:
        stack = _running_stack_unless_held(scope, name=name, folder=folder)
        if stack is None:
            supervisor = Supervisor(folder=folder)
            scope.callback(supervisor.stop)
            os.environ.update(start_servers(supervisor=supervisor, folder=folder))
        else:
            for key in ("database_url", "redis_url", "bank_url", "carrier_url"):
                os.environ.setdefault(key.upper(), stack[key])
        yield


def _running_stack_unless_held(scope: ExitStack, *, name: str, folder: StateFolder) -> dict[str, Any] | None:
    """Return the running stack, or None once the scope holds the folder; wait while others hold it."""
    limit = time.monotonic() + _PATIENCE_SECONDS
    while (stack := folder.running_stack()) is None:
        try:
            scope.enter_context(folder.hold(purpose=f"manage.py {name}"))
        except FolderHeld:
            if time.monotonic() > limit:
                raise
        else:
            return None
    return stack
