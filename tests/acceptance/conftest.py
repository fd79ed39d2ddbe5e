"""One running shop for all stories."""

from collections.abc import Iterator

import pytest

from tests.running import running_shop
from tests.shop import Shop


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    """Start the shop; at the end the audit must find nothing."""
    with running_shop(name="acceptance") as shop:
        yield shop
        assert shop.audit() == (0, [])
