"""A running shop for tests from outside: the whole product as processes, on a database and a broker of its own.

`running_shop` borrows the servers of the test run and takes a fresh database and an emptied broker on them.
With `own_servers` it starts servers that belong to it alone, for tests that stop, kill or cut them off.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from config.local.folder import StateFolder
from config.local.ports import free_port
from config.local.processes import Supervisor
from config.local.stack import start_stack
from tests.shop import Shop

# The workers of a test run take the Redis databases from the first upwards, running shops the last ones.
_LAST_REDIS_NUMBER = 15


@contextmanager
def running_shop(
    *,
    name: str,
    customers: int = 40,
    own_servers: bool = False,
    has_network: bool = False,
    shelf: int = 0,
    **environment: str,
) -> Iterator[Shop]:
    """Start the product and its outside world, and stop all of it at the end.

    `name` tells its database from those of others; shops that one test runs at once borrow their brokers from
    different shelves (0 or 1). With `has_network` its processes reach bank, carrier, database and broker through
    links that `Shop.link` cuts and slows down. The environment is added to that of every process; customers are not
    throttled unless it says so.
    """
    with (
        tempfile.TemporaryDirectory(prefix=f"saga-bridge-{name}-") as place,
        pytest.MonkeyPatch.context() as patch,
        (folder := StateFolder(path=Path(place) / "var")).hold(purpose=f"the tests of {name}"),
    ):
        database = f"saga_bridge_{name}"
        if own_servers:
            patch.delenv("DATABASE_URL", raising=False)
            patch.delenv("REDIS_URL", raising=False)
        else:
            patch.setenv("DATABASE_URL", _fresh_database(database))
            patch.setenv("REDIS_URL", _fresh_broker(_LAST_REDIS_NUMBER - 2 * _worker_number() - shelf))
        unlimited = {"THROTTLE_CUSTOMER": "1000000/min", "THROTTLE_ADDRESS": "1000000/min"}
        for key, value in (unlimited | environment).items():
            patch.setenv(key, value)
        patch.delenv("CELERY_BROKER_URL", raising=False)
        supervisor = Supervisor(folder=folder)
        try:
            stack = start_stack(
                supervisor=supervisor,
                folder=folder,
                port=free_port(),
                customers=customers,
                database=database,
                is_fresh=True,
                has_network=has_network,
            )
            # The environment is the processes' own by now; that of the tests is as it was.
            patch.undo()
            shop = Shop(stack=stack, supervisor=supervisor)
            yield shop
            shop.close()
        finally:
            supervisor.stop()


def _worker_number() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def _fresh_database(name: str) -> str:
    server = urlsplit(os.environ["DATABASE_URL"])
    with psycopg.connect(urlunsplit(server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return urlunsplit(server._replace(path=f"/{name}"))


def _fresh_broker(number: int) -> str:
    url = f"{re.sub(r'/[0-9]*$', '', os.environ['REDIS_URL'])}/{number}"
    with redis.Redis.from_url(url) as broker:
        broker.flushdb()
    return url
