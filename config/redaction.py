"""Logs tell what happened, not who lives where and with which card he pays.

No line of ours names a customer's data on purpose. But what others put into a message may: the address of a request,
the error of the database, which repeats the row that it refuses.
"""

from __future__ import annotations

import logging
import re

import structlog

from orders.api.card_numbers import strike_out

# "Failing row contains (…)." repeats a whole row: names and addresses, too. "Key (…)=(…) already exists." repeats the
# values of a key. A line break may be written as one, or as \n within a quoted error.
_ROW = re.compile(r"(Failing row contains )\(.*?\)\.(?=\s|\\n|['\"]|$)", re.DOTALL)
_KEY = re.compile(
    r"(\([^)]*\)=)\(.*?\)(?= already exists| is not present| is still referenced| conflicts with|\.(?:\s|\\n|['\"]|$))",
    re.DOTALL,
)


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Render a line without card numbers, whoever logged it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished line."""
        return strike_out(super().format(record))


def hide_rows(
    logger: object,  # noqa: ARG001 - structlog passes it
    method: str,  # noqa: ARG001
    event: structlog.typing.EventDict,
) -> structlog.typing.EventDict:
    """Take out of an event the rows and keys that the database repeats in its errors, as a structlog processor."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _KEY.sub(r"\1(...)", _ROW.sub(r"\1(...).", value))
    return event
