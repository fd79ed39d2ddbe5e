"""Limits over all workers: token buckets, each kept as a row, by the clock of the database.

A storm of turning sagas, or all that an outage has held back, must not become a storm on the participants.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import connections
from prometheus_client import Counter

from outbox import sql
from outbox.metrics import GATEWAY_THROTTLED, THROTTLED

COMPENSATIONS = "compensations"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `per_second` tokens in any second. Each message takes `cost` of them."""

    name: str
    per_second: float
    cost: int = 1

    @property
    def throttled(self) -> Counter:
        """The metric that counts how often it held messages back."""
        return THROTTLED if self.name == COMPENSATIONS else GATEWAY_THROTTLED.labels(self.name)

    def take(self, wanted: int, *, using: str = "default") -> int:
        """Take the tokens of up to so many messages. Returns for how many, perhaps 0. Safe for any number of workers.

        The bucket holds the cost of at least one message. A limit that an operator has set on it holds at once.
        """
        tokens = self._take(wanted * self.cost, using)
        messages, rest = divmod(tokens, self.cost)
        self._give_back(rest, using)
        return messages

    def give_back(self, unused: int, *, using: str = "default") -> None:
        """Return the tokens of messages that were not there."""
        self._give_back(unused * self.cost, using)

    def _take(self, wanted: int, using: str) -> int:
        limit = self.per_second
        with connections[using].cursor() as cursor:
            cursor.execute(sql.TAKE_TOKENS, [wanted, limit, self.cost, limit, self.name, wanted])
            row = cursor.fetchone()
            if row is None:
                cursor.execute(sql.ADD_BUCKET, [self.name])
        return int(row[0]) if row else 0

    def _give_back(self, tokens: int, using: str) -> None:
        if tokens > 0:
            with connections[using].cursor() as cursor:
                cursor.execute(sql.GIVE_BACK_TOKENS, [tokens, self.name])


def of_compensations() -> Limit:
    """Return the limit of compensations."""
    return Limit(COMPENSATIONS, settings.COMPENSATIONS_PER_SECOND)


def of_gateway(name: str, *, calls: int) -> Limit | None:
    """Return the limit of a gateway, of which a message may take so many calls; None if there is none."""
    per_second = settings.GATEWAY_CALLS_PER_SECOND
    return Limit(name, per_second, calls) if per_second else None
