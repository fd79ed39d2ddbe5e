"""What waits behind a pause that a person has made was not forgotten; what waits elsewhere was."""

from __future__ import annotations

import pytest

from config.audit import audit
from tests.audited import Books, books, found
from tests.integration.config.test_audit_messages_and_trail import due_since_long
from tests.messaging import execute

__all__ = ["books"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("destination", "compensations_only", "resumed_at", "is_late"),
    [
        ("sagas", False, "NULL", False),
        ("sagas", False, "now() - interval '1 minute'", False),
        ("sagas", False, "now() - interval '20 minutes'", True),
        ("sagas", True, "NULL", True),
        ("payments", False, "NULL", True),
    ],
    ids=["paused", "just resumed", "resumed long ago", "only its compensations", "another one"],
)
def test_what_waits_behind_a_pause_is_not_late(
    books: Books, destination: str, compensations_only: bool, resumed_at: str, is_late: bool
) -> None:
    offences = due_since_long(books)
    execute(
        "INSERT INTO outbox_pause (destination, compensations_only, paused_at, paused_by, reason, resumed_at) "
        f"VALUES (%s, %s, now() - interval '1 hour', 'ada', 'they asked us to', {resumed_at})",
        destination,
        compensations_only,
    )

    assert found(audit()) == (offences if is_late else [])
