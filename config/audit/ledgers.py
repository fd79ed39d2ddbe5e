"""The ledgers of bank and carrier, read piece by piece into a spool: theirs may be larger than our memory.

They are read before our tables, so that whatever they show has its cause in our snapshot, and the carrier before the
bank, so that every parcel it shows has its charge.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any
from uuid import UUID

import httpx
from django.conf import settings

# A ledger streams for as long as it is long; this is the longest silence in between.
SILENCE_SECONDS = 60
# A spool below this stays in memory, in bytes.
IN_MEMORY = 16 * 1024 * 1024
# So many orders are asked for with one request: the address of a page must stay below 8 KiB.
ORDERS_AT_ONCE = 100


class LedgerUnavailable(RuntimeError):
    """The bank or the carrier does not show its ledger; without it money and goods cannot be judged."""


def are_shown() -> bool:
    """Tell whether bank and carrier are ones that show their ledgers."""
    return bool(settings.PAYMENT_GATEWAY == "simulated" and settings.CARRIER == "simulated")


def spool(*, keys: Sequence[UUID], since: datetime | None) -> IO[bytes]:
    """Return all entries as lines for `audit_ledger`; with `since` those of these orders and of others entered since.

    No transaction may be open.

    Raises `LedgerUnavailable` when the bank or the carrier cannot be asked.
    """
    lines = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the caller closes it
    if not are_shown():
        return lines
    text = io.TextIOWrapper(lines, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    sources = (("carrier", f"{settings.CARRIER_URL}/ledger"), ("bank", f"{settings.BANK_URL}/ledger"))
    orders = None if since is None else _orders([url for _, url in sources], keys, since)
    for source, url in sources:
        for entry in _entries(url, orders):
            writer.writerow(_row(source, entry))
    text.detach()
    return lines


def _row(source: str, entry: dict[str, Any]) -> list[object]:
    order_id = str(entry["order_id"])
    return [
        source,
        entry["kind"],
        entry["key"],
        order_id,
        _uuid(order_id),
        entry.get("amount", 0),
        entry.get("currency", ""),
        entry["at"],
    ]


def _uuid(text: str) -> str:
    """Return the id, or nothing for what is no id of ours."""
    try:
        return str(UUID(text))
    except ValueError:
        return ""


def _orders(urls: Sequence[str], keys: Sequence[UUID], since: datetime) -> list[str]:
    """Return the orders whose whole history is wanted: ours, and whatever else bank and carrier have dealt with."""
    new = {entry["order_id"] for url in urls for entry in _read(url, [("since", since.isoformat())])}
    return sorted(new.union(map(str, keys)))


def _entries(url: str, orders: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    if orders is None:
        yield from _read(url, ())
        return
    for start in range(0, len(orders), ORDERS_AT_ONCE):
        yield from _read(url, [("order_id", order) for order in orders[start : start + ORDERS_AT_ONCE]])


def _read(url: str, parameters: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    try:
        with httpx.stream("GET", url, params=list(parameters), timeout=SILENCE_SECONDS) as response:
            response.raise_for_status()
            yield from objects(response.iter_text())
    except (httpx.HTTPError, ValueError) as error:
        raise LedgerUnavailable(f"{url} does not answer: {str(error).splitlines()[0]}") from error


def objects(pieces: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON array that comes in pieces, each as soon as it is complete.

    Raises `ValueError` when the array ends before its end.
    """
    decoder = json.JSONDecoder()
    rest = ""
    for piece in pieces:
        rest += piece
        while True:
            rest = rest.lstrip("[, \n\r\t")
            if not rest.startswith("{"):
                break
            try:
                value, end = decoder.raw_decode(rest)
            except ValueError:
                # The object goes on in the next piece.
                break
            yield value
            rest = rest[end:]
    if rest.strip() != "]":
        raise ValueError("the ledger breaks off")
