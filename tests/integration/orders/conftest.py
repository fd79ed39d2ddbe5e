"""Tests of orders whose work is committed."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.factories.orders import take_back


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let the test commit for real, and take it all back afterwards."""
    with django_db_blocker.unblock():
        try:
            yield
        finally:
            take_back()
