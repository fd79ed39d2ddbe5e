"""A relay in a process of its own whose clock is wrong.

Usage: python -m tests.faults.skewed_relay LANE SECONDS_OFF
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import django
import time_machine


def main(*, lane: str, off: float) -> None:
    """Run the product's relay once over what is due."""
    with time_machine.travel(datetime.now(tz=UTC) + timedelta(seconds=off)):
        django.setup()
        from outbox import relay

        print(relay.run(lane=lane, linger=0))


if __name__ == "__main__":
    main(lane=sys.argv[1], off=float(sys.argv[2]))
