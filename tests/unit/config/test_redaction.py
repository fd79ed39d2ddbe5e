"""No log line holds a card number or a customer's row, whoever wrote it and in whatever format."""

import io
import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.conf import settings

from config.redaction import RedactingFormatter

ROW = (
    'null value in column "line1" violates not-null constraint\n'
    "DETAIL:  Failing row contains (7, Ada Lovelace, 1 Main St (left)., Berlin).\nCONTEXT:  statement"
)
KEY = "DETAIL:  Key (customer_id, name)=(7, Ada Lovelace) already exists."
EXCLUDED = "DETAIL:  Key (a, b)=(7, Ada) conflicts with existing key (a, b)=(7, Lovelace)."


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """Return a logger and what it writes with the formatter of the settings."""
    formatters: Any = settings.LOGGING["formatters"]
    formatter = dict(formatters["structured"])
    assert formatter.pop("()") is RedactingFormatter
    if request.param == "json":
        formatter["processor"] = structlog.processors.JSONRenderer()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(RedactingFormatter(**formatter))
    logger = logging.getLogger("tests.redaction")
    logger.addHandler(handler)
    yield logger, written
    logger.removeHandler(handler)


@pytest.mark.parametrize("arguments", [("/orders/4242424242424242",), ("/orders/4242-4242-4242-4242",)])
def test_no_card_number_is_logged(lines: Any, arguments: tuple[str]) -> None:
    logger, written = lines

    logger.warning("Not Found: %s", *arguments)

    assert "4242" not in written.getvalue()
    assert "Not Found: /orders/[card number]" in written.getvalue()


def test_no_card_number_of_an_exception_is_logged(lines: Any) -> None:
    logger, written = lines
    try:
        int("5555555555554444 cents")
    except ValueError:
        logger.exception("failed")

    assert "ValueError: invalid literal for int() with base 10: '[card number] cents'" in written.getvalue()
    assert written.getvalue().count("5555555555554444") == 0


@pytest.mark.parametrize("text", [ROW, repr(ValueError(ROW)), KEY, repr(ValueError(KEY)), EXCLUDED])
def test_no_row_is_logged_that_the_database_repeats(lines: Any, text: str) -> None:
    logger, written = lines

    logger.warning(text)

    assert "Ada" not in written.getvalue()
    assert "Lovelace" not in written.getvalue()
    assert "(...)" in written.getvalue()


def test_ids_and_times_are_logged_as_they_are(lines: Any) -> None:
    logger, written = lines
    line = "01a20d86-b4d8-765b-8be0-e951d55da303 at 2026-11-24 15:33:19.123456 in 1732461199124 ms"

    logger.warning(line)

    assert line in written.getvalue()
