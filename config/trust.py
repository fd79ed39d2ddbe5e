"""Trust in the database: the product's own role must not be able to rewrite history.

The message log, the attempts and the operators' log refuse every change by triggers that are always on. Whoever owns a
table can switch its triggers off; so in production the application connects as a role that owns none of its tables, and
only migrations run as their owner. See docs/how-to/separate-the-owner.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

# The owner, and whoever may become him, can switch off the guards; a superuser too.
_OWNED = """
SELECT c.relname FROM pg_class c
WHERE c.relname = ANY(%s::text[]) AND pg_has_role(current_user, c.relowner, 'MEMBER')
"""
APPEND_ONLY = ("outbox_message", "outbox_attempt", "outbox_gateway_call", "sagas_casenote", "sagas_operatoraction")


def owned_tables(*, using: str = "default") -> list[str]:
    """Return those append-only tables whose guards the connected role could switch off."""
    with connections[using].cursor() as cursor:
        cursor.execute(_OWNED, [list(APPEND_ONLY)])
        return sorted(row[0] for row in cursor.fetchall())


def require_distrust(*, using: str = "default") -> None:
    """Refuse to start in production as a role that could rewrite history; does nothing elsewhere.

    A database that is away is not waited for: then nothing is known, and `manage.py check --database default` says
    it later. Raises: ImproperlyConfigured.
    """
    if not settings.PRODUCTION:
        return
    try:
        owned = owned_tables(using=using)
    except DatabaseError:
        return
    finally:
        connections[using].close()
    if owned:
        raise ImproperlyConfigured(_explain(owned))


@register(Tags.database)
def check_owner(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Report, in production, the append-only tables whose guards this role could switch off."""
    if not settings.PRODUCTION:
        return []
    return [
        Error(_explain(owned), hint="See docs/how-to/separate-the-owner.md.", id="saga_bridge.E001")
        for using in databases or ()
        if (owned := owned_tables(using=using))
    ]


def _explain(owned: Sequence[str]) -> str:
    return (
        f"DATABASE_URL must name a role that does not own the tables in production: this one could rewrite "
        f"{', '.join(owned)}"
    )
