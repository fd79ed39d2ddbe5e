"""Books that are in order give no finding, whether all of them are looked at or what has changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from config.audit import CHECKS, audit
from tests.audited import Books, books

__all__ = ["books"]
pytestmark = pytest.mark.django_db(transaction=True)


def test_books_in_order_give_no_finding(books: Books) -> None:
    report = audit()

    assert report.findings == ()
    assert (report.judged, report.checks) == (3, len(CHECKS))


def test_neither_does_a_look_at_what_has_changed(books: Books) -> None:
    report = audit(since=timezone.now() - timedelta(hours=1))

    assert report.findings == ()
    assert (report.judged, report.keys) == (3, 3)
