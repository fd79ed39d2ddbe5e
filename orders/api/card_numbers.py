"""Card numbers never enter: whatever looks like one is found before anything else is done with a body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

_SHORTEST, _LONGEST = 13, 19
# Groups of digits, as people write them: 4242 4242 4242 4242 or 4242-4242-4242-4242.
_GROUPS = re.compile(r"\d+(?:[ \-]\d+)*")


Path: TypeAlias = tuple[str | int, ...]


def card_number_paths(*, body: Any) -> list[Path]:
    """Return where texts and numbers look like card numbers; for a name that does, where its object is.

    SKUs are left out: many are barcodes, one in ten passes for a card number, and an unknown one is neither
    kept nor repeated.
    """
    return list(dict.fromkeys(_paths(body)))


def is_card_number(text: str) -> bool:
    """Tell whether the text holds 13 to 19 digits, in groups or not, of which the last is a Luhn digit."""
    for run in _GROUPS.finditer(text):
        groups = re.split(r"[ \-]", run[0])
        for start in range(len(groups)):
            digits = ""
            for group in groups[start:]:
                digits += group
                if len(digits) > _LONGEST:
                    break
                if len(digits) >= _SHORTEST and _passes_luhn(digits):
                    return True
    return False


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
