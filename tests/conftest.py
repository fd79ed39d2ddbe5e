"""Set up Django for the tests on real servers.

It happens while this file is loaded, not in a hook: the conftest files below it import models.
"""

import os

import django
import pytest
import redis

from tests.servers import join_test_run, lead_test_run

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_worker = os.environ.get("PYTEST_XDIST_WORKER")
_run = lead_test_run() if _worker is None else None
if _worker is not None:
    join_test_run(worker=_worker)
django.setup()


def pytest_xdist_setupnodes() -> None:
    """Let each worker read the settings after it has joined the run: pytest-django would do so before."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


def pytest_unconfigure() -> None:
    """Stop what was started, once all workers are done."""
    if _run is not None:
        _run.close()


@pytest.fixture(autouse=True)
def closed_breakers() -> None:
    """Let no test find a gateway away because an earlier one made it fail."""
    from outbox import breaker

    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.delete("saga-bridge:breaker:bank", "saga-bridge:breaker:carrier")
    breaker._looked.clear()
    breaker._silent_until = 0.0
