"""What the tests on real servers share."""

from tests.flushing import django_db_setup
from tests.messaging import wiring

__all__ = ["django_db_setup", "wiring"]
