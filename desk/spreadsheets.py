"""Rows as CSV, for people who go on with them in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO

# What a spreadsheet takes for a formula when it comes first: whoever wrote it, it must not run there.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def line_of(values: Iterable[object]) -> str:
    """Return one line of CSV. A text that looks like a formula is made harmless."""
    line = StringIO()
    csv.writer(line).writerow([_harmless(value) for value in values])
    return line.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
