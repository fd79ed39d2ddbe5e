"""How long a Prefer header asks to wait (RFC 7240)."""

import pytest

from orders.api.waiting import preferred_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("wait=5", 5),
        ("Wait = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=10", 10),
        ("respond-async; wait=10", 10),
        ("wait=31", 30),
        ("wait=999999999999", 0),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait=soon", 0),
        ("await=5", 0),
    ],
)
def test_the_seconds_are_read(header: str | None, seconds: int) -> None:
    assert preferred_wait(header=header) == seconds
