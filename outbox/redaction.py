"""What is kept or shown of a payload: all that it says about the order, nothing that it says about a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# What a payload says about a person and not about the order.
PERSONAL = frozenset({"address", "shipping_address", "payment_method", "email"})
REDACTED = "•••"
# Shorter ones, the code of a country for one, stand in many a word that has nothing to do with them.
_SHORTEST_TELLING = 3


def redacted(value: Any) -> Any:
    """Return a payload with what it says about a person struck out."""
    if isinstance(value, dict):
        return {key: REDACTED if key in PERSONAL and item else redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value


def personal_texts(value: Any) -> list[str]:
    """Return the texts of a payload that are about a person, longest first: an answer may repeat them anywhere."""
    return sorted({text for text in _personal(value) if len(text) >= _SHORTEST_TELLING}, key=len, reverse=True)


def without(text: str, personal: list[str]) -> str:
    """Return a text with these texts struck out."""
    for each in personal:
        text = text.replace(each, REDACTED)
    return text


def _personal(value: Any, *, is_inside: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _personal(item, is_inside=is_inside or key in PERSONAL)
    elif isinstance(value, list):
        for item in value:
            yield from _personal(item, is_inside=is_inside)
    elif is_inside and isinstance(value, str):
        yield value
