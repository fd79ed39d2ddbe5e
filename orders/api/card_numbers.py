"""Card numbers never enter: whatever looks like one is found before anything else is done with a request.

Nor do they leave in a log: what slips into a line by another way is struck out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

_SHORTEST, _LONGEST = 13, 19
# Groups of digits, as people write them: 4242 4242 4242 4242 or 4242-4242-4242-4242.
_GROUPS = re.compile(r"\d+(?:[\s_/\-\u2010-\u2015]{1,3}\d+)*")
_DIGITS = re.compile(r"\d+")
# Ids and hashes: that a part of one holds the digits of a card is chance.
_OPAQUE = re.compile(
    r"(?<![0-9a-z])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})(?![0-9a-z])",
    re.IGNORECASE,
)
STRUCK_OUT = "[card number]"

Path: TypeAlias = tuple[str | int, ...]


def card_number_paths(*, body: Any) -> list[Path]:
    """Return where texts and numbers look like card numbers; for a name that does, where its object is.

    SKUs are left out: many are barcodes, one in ten passes for a card number, and an unknown one is neither
    kept nor repeated.
    """
    return list(dict.fromkeys(_paths(body)))


def is_card_number(text: str) -> bool:
    """Tell whether the text holds 13 to 19 digits, in groups or not, of which the last is a Luhn digit."""
    return any(True for _ in _spans(text))


def holds_issued_number(text: str) -> bool:
    """Tell whether the text holds a card number that begins as those of banks do: with neither 0 nor 1.

    For texts that machines make, such as keys and addresses: a time in milliseconds, which begins with 1, would be
    taken for a card number one time in ten.
    """
    return any(text[begin] not in "01" for begin, _ in _spans(text))


def strike_out(text: str) -> str:
    """Return the text without the card numbers in it, issued ones that is."""
    kept, end = [], 0
    for begin, until in _spans(text):
        if begin >= end and text[begin] not in "01":
            kept += [text[end:begin], STRUCK_OUT]
            end = until
    return "".join([*kept, text[end:]])


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Find where card numbers begin and end. They may overlap; those that begin first come first."""
    text = _OPAQUE.sub(lambda found: "x" * len(found[0]), text)
    for run in _GROUPS.finditer(text):
        groups = [group.span() for group in _DIGITS.finditer(text, *run.span())]
        for position, (begin, _) in enumerate(groups):
            digits = ""
            for group_begin, end in groups[position:]:
                digits += text[group_begin:end]
                if len(digits) > _LONGEST:
                    break
                if len(digits) >= _SHORTEST and _passes_luhn(digits):
                    yield begin, end


def _paths(body: Any) -> Iterator[Path]:
    pending: list[tuple[Path, Any]] = [((), body)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            for name, inner in value.items():
                if is_card_number(name):
                    yield path
                elif name != "sku" or not isinstance(inner, str):
                    pending.append(((*path, name), inner))
        elif isinstance(value, list):
            pending.extend(((*path, position), inner) for position, inner in enumerate(value))
        elif isinstance(value, str | int | float) and is_card_number(str(value)):
            yield path


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
