"""One running shop for all stories, on a database and a broker of its own beside those of the test run."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from config.local.folder import StateFolder
from config.local.ports import free_port
from config.local.processes import Supervisor
from config.local.stack import start_stack
from tests.acceptance.shop import Shop

DATABASE = "saga_bridge_acceptance"
# The last one of a server as it comes; the workers of the test run count from the first.
REDIS_NUMBER = 15
CUSTOMERS = 40


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    """Start the shop and its outside world; stop all of it at the end, when the audit has found nothing."""
    with (
        tempfile.TemporaryDirectory(prefix="saga-bridge-acceptance-") as place,
        pytest.MonkeyPatch.context() as patch,
        (folder := StateFolder(path=Path(place) / "var")).hold(purpose="the acceptance tests"),
    ):
        patch.setenv("DATABASE_URL", _fresh_database())
        patch.setenv("REDIS_URL", _fresh_broker())
        patch.setenv("THROTTLE_CUSTOMER", "1000000/min")
        patch.setenv("THROTTLE_ADDRESS", "1000000/min")
        patch.delenv("CELERY_BROKER_URL", raising=False)
        supervisor = Supervisor(folder=folder)
        try:
            stack = start_stack(
                supervisor=supervisor,
                folder=folder,
                port=free_port(),
                customers=CUSTOMERS,
                database=DATABASE,
                is_fresh=True,
            )
            shop = Shop(stack=stack, supervisor=supervisor)
            yield shop
            shop.close()
            assert shop.audit() == (0, [])
        finally:
            supervisor.stop()


def _fresh_database() -> str:
    server = urlsplit(os.environ["DATABASE_URL"])
    with psycopg.connect(urlunsplit(server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return urlunsplit(server._replace(path=f"/{DATABASE}"))


def _fresh_broker() -> str:
    url = f"{re.sub(r'/[0-9]*$', '', os.environ['REDIS_URL'])}/{REDIS_NUMBER}"
    with redis.Redis.from_url(url) as broker:
        broker.flushdb()
    return url
