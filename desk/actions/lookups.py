"""What bank and carrier say of an order now: looked up while the operator waits, and kept as it was shown.

Outside any transaction, with little patience. One that is away says so, and the page works without it. What was shown
travels with the form under a signature, so that the operator log keeps what this person saw and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core import signing

from desk.tables import Table
from outbox.desk import clock
from outbox.inquiries import Call, Inquiry, handler_of, inquire
from outbox.ledgers import Entry
from outbox.money import to_text

_SALT = "desk.lookups"
# A page that lay open for longer tells of another day.
_SHOWN_FOR_SECONDS = 24 * 60 * 60
_GIVEN_BACK = {"refund"}
_TAKEN = {"charge"}


def ask_about(calls: Iterable[Call]) -> list[Inquiry]:
    """Ask the gateways of these calls about their keys, each key once; one that is away is not asked a second time."""
    found: list[Inquiry] = []
    away: dict[str, str] = {}
    for key, call in {call.key: call for call in calls}.items():
        _, handler = handler_of(type(call.command))
        if handler is None or not handler.gateway:
            continue
        if handler.gateway in away:
            found.append(Inquiry(gateway=handler.gateway, key=key, away=away[handler.gateway]))
            continue
        inquiry = inquire(call)
        if inquiry is not None:
            found.append(inquiry)
            if inquiry.known is None:
                away[inquiry.gateway] = inquiry.away
    return found


def sentences(inquiries: Sequence[Inquiry]) -> list[str]:
    """Return what was answered, in words: key by key, and what the bank holds of the order."""
    said = [
        f"The {each.gateway}, asked about {each.key}: {each.text}."
        if each.known is not None
        else f"The {each.gateway} could not be asked about {each.key}: {each.away}. What it has done is not known now; "
        "you can act all the same."
        for each in inquiries
    ]
    return said + [f"The {gateway} {text}." for gateway, text in _balances(inquiries).items()]


def ledger_table(inquiries: Sequence[Inquiry]) -> Table:
    """Return what the ledgers say of the order, entry by entry; the keys that were asked about stand out."""
    asked = {each.key for each in inquiries}
    rows = [
        [
            clock(entry.at),
            gateway,
            entry.kind,
            _amount(entry) or "-",
            f"{entry.key} (asked about)" if entry.key in asked else entry.key,
        ]
        for gateway, entries in _by_gateway(inquiries).items()
        for entry in entries
    ]
    return Table("What their ledgers say of this order now", ["at (UTC)", "whose", "entry", "amount", "key"], rows)


def plain(inquiries: Sequence[Inquiry]) -> list[dict[str, Any]]:
    """Return what was answered as the operator log keeps it."""
    return [
        {
            "gateway": each.gateway,
            "key": each.key,
            "answer": each.text,
            "is_away": each.known is None,
            "entries": [
                {"kind": entry.kind, "key": entry.key, "amount": _amount(entry), "at": entry.at.isoformat()}
                for entry in each.entries
            ],
        }
        for each in inquiries
    ]


def sealed(inquiries: Sequence[Inquiry]) -> str:
    """Return what was answered as a text that nobody can change on its way through a form."""
    return signing.dumps(plain(inquiries), salt=_SALT, compress=True)


def opened(text: str) -> Sequence[Mapping[str, Any]]:
    """Return what `sealed` holds; nothing when it is not ours, or too old."""
    try:
        shown: list[dict[str, Any]] = signing.loads(text, salt=_SALT, max_age=_SHOWN_FOR_SECONDS)
    except signing.BadSignature:
        return ()
    return shown


def _by_gateway(inquiries: Sequence[Inquiry]) -> dict[str, Sequence[Entry]]:
    return {each.gateway: each.entries for each in inquiries if each.known is not None}


def _balances(inquiries: Sequence[Inquiry]) -> dict[str, str]:
    balances = {}
    for gateway, entries in _by_gateway(inquiries).items():
        money = [entry for entry in entries if entry.currency]
        for currency in sorted({entry.currency for entry in money}):
            own = [entry for entry in money if entry.currency == currency]
            taken = sum(entry.amount for entry in own if entry.kind in _TAKEN)
            kept = taken - sum(entry.amount for entry in own if entry.kind in _GIVEN_BACK)
            balances[gateway] = (
                f"has taken {to_text(minor_units=taken, currency=currency)} {currency} for this order and keeps "
                f"{to_text(minor_units=kept, currency=currency)} {currency} of it"
            )
    return balances


def _amount(entry: Entry) -> str:
    return f"{to_text(minor_units=entry.amount, currency=entry.currency)} {entry.currency}" if entry.currency else ""
