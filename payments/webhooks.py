"""What a gateway tells us by itself: signed events, stored as they come, and applied when our own rows agree.

A webhook is news of an entry in the gateway's ledger, so it is judged as one: it confirms a charge that got no
answer, by making the command that waits to look it up due at once; it finds a late charge; it tells of what nothing
of ours has asked for. It never answers a command itself. Events come twice, late and out of order: each is kept once
under the gateway's own id of it, and parked until the rest of the story is there.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias
from uuid import NAMESPACE_OID, uuid5

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from prometheus_client import Counter

from outbox.consumers import DomainError
from outbox.contracts import ACTION
from outbox.ledgers import KEY_LENGTH, Entry, Found
from outbox.money import to_text
from outbox.places import hasten, place_of
from outbox.publishing import Outgoing, publish
from outbox.reconciliation import Dealt, deal, report_mismatches
from outbox.transactions import on_commit, rerun_on_conflict
from payments import sql
from payments.contracts import PaymentWebhookReceived
from payments.models import WebhookEvent
from payments.reconciliation import CHARGE, REFUND, SOURCE, book_of

WEBHOOKS = Counter(
    "webhooks_total", "Events that gateways told us, by what became of them", ["gateway", "type", "outcome"]
)

# An event that was signed longer ago, or is from the future, may be one that somebody has recorded and plays again.
TOLERANCE = timedelta(minutes=5)
# A header with more signatures than any rotation needs is an attack on our time.
MOST_SIGNATURES = 10

_Type: TypeAlias = WebhookEvent.Type
_Status: TypeAlias = WebhookEvent.Status
_KINDS = {_Type.CHARGED: CHARGE, _Type.REFUNDED: REFUND}
_ENDS: Mapping[Dealt, WebhookEvent.Status] = {
    "explained": _Status.APPLIED,
    "repaired": _Status.REPAIRED,
    "reported": _Status.REPORTED,
    "open": _Status.PARKED,
}
_UNSETTLED = (_Status.RECEIVED, _Status.PARKED)
_HEADER = re.compile(r"t=(\d{1,12})((?:,v1=[0-9a-f]{64})+)")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_LENGTH, pattern="^[^\x00]*$")]


class UnknownGateway(DomainError):
    """No gateway of this name sends us webhooks."""


class BadSignature(DomainError):
    """The webhook is not signed by its gateway, or not within the last minutes."""


class BadEvent(DomainError):
    """The webhook is signed, and cannot be read."""


class _Event(msgspec.Struct, frozen=True):
    id: Name
    type: Name


class _Fact(msgspec.Struct, frozen=True):
    key: Name
    order_id: Name
    amount: Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    at: Annotated[datetime, msgspec.Meta(tz=True)]


class _KnownEvent(_Event, frozen=True):
    data: _Fact


# Made before there are threads: msgspec shows one thread what another has only half made of a type, and crashes.
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_known = msgspec.json.Decoder(_KnownEvent).decode


@rerun_on_conflict
def receive(*, gateway: str, body: bytes, signature: str, now: datetime) -> bool:
    """Check and store a webhook; returns whether it is new. The relay applies it afterwards.

    `signature` is `t=SECONDS,v1=HEX`, with `v1` the HMAC-SHA256 of `SECONDS.BODY` under any of the gateway's secrets.
    Raises: UnknownGateway, BadSignature, BadEvent.
    """
    secrets = settings.WEBHOOK_SECRETS.get(gateway)
    if secrets is None:
        raise UnknownGateway("no gateway of this name sends webhooks")
    if not _is_signed(secrets=secrets, body=body, signature=signature, now=now):
        WEBHOOKS.labels(gateway, "", "refused").inc()
        raise BadSignature("the signature does not fit the body, or was not made within the last minutes")
    event = _read(body)
    is_known = isinstance(event, _KnownEvent)
    with transaction.atomic():
        is_new = _store(gateway, event)
        if is_new and is_known:
            told = PaymentWebhookReceived(gateway=gateway, event_id=event.id)
            # Under a key of its own: a parked event must not hold up the commands of its order.
            publish([Outgoing(data=told, source=SOURCE, subject=uuid5(NAMESPACE_OID, f"{gateway}:{event.id}"))])
    outcome = "received" if is_known else "ignored"
    WEBHOOKS.labels(gateway, event.type if is_known else "other", outcome if is_new else "duplicate").inc()
    return is_new


def apply_events(*, events: Sequence[PaymentWebhookReceived]) -> list[Dealt | None]:
    """Judge stored events and do what follows; returns what became of each, None for one that is settled already.

    Calls the gateway to give a late charge back: never while a transaction is open. Safe to repeat.
    """
    rows = {key: row for key, row in _find(events).items() if row.status in _UNSETTLED}
    ends: dict[int, Dealt] = {}
    entries: dict[str, list[WebhookEvent]] = defaultdict(list)
    for row in rows.values():
        if row.type == _Type.DISPUTED:
            _report_dispute(row)
            ends[row.pk] = "reported"
        else:
            entries[row.gateway].append(row)
    for gateway, group in entries.items():
        book = book_of(gateway=gateway)
        if book is not None:
            dealt, _ = deal(book=book, entries=[_entry(row) for row in group])
            ends.update(zip((row.pk for row in group), dealt, strict=True))
    found = [rows.get((event.gateway, event.event_id)) for event in events]
    return [None if row is None else ends.get(row.pk) for row in found]


def record_events(*, dealt: Sequence[tuple[PaymentWebhookReceived, Dealt | None]]) -> list[bool]:
    """Write down what became of events; returns for each whether it is parked, to be looked at again.

    What is parked hastens, once, the command that waits to look its charge up. The caller's transaction.
    """
    rows = _find([event for event, _ in dealt], lock=True)
    tally: Tally[tuple[str, str, str]] = Tally()
    changed: dict[str, list[WebhookEvent]] = defaultdict(list)
    parked: list[bool] = []
    for event, end in dealt:
        row = rows.get((event.gateway, event.event_id))
        before = None if row is None else row.status
        # Between the judgement and this the record of its charge may have settled it.
        if row is not None and end is not None and row.status in _UNSETTLED:
            row.status = _ENDS[end]
            changed[row.status].append(row)
        parked.append(row is not None and row.status == _Status.PARKED)
        if row is not None and not (before == row.status == _Status.PARKED):
            tally[row.gateway, row.type, row.status] += 1
    _hasten(row for row in changed[_Status.PARKED] if row.hastened_at is None)
    for status, group in changed.items():
        settled_at = None if status == _Status.PARKED else Now()
        WebhookEvent.objects.filter(pk__in=[row.pk for row in group]).update(status=status, settled_at=settled_at)
    on_commit(lambda: _count(tally), "default")
    return parked


def prune_settled() -> int:
    """Forget settled events that are older than the message log is kept; returns how many."""
    oldest = Now() - timedelta(days=settings.MESSAGE_RETENTION_DAYS)
    pruned, _ = WebhookEvent.objects.filter(received_at__lt=oldest, settled_at__isnull=False).delete()
    return pruned


def _is_signed(*, secrets: Iterable[str], body: bytes, signature: str, now: datetime) -> bool:
    header = _HEADER.fullmatch(signature)
    if header is None:
        return False
    seconds, given = header[1], header[2].split(",v1=")[1:]
    if abs(now.timestamp() - int(seconds)) > TOLERANCE.total_seconds() or len(given) > MOST_SIGNATURES:
        return False
    signed = seconds.encode() + b"." + body
    wanted = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    # All of them every time: how long it takes tells nothing of how close a guess was.
    return sum(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in given) > 0


def _read(body: bytes) -> _Event:
    try:
        event = _decode_event(body)
        return _decode_known(body) if event.type in _Type.values else event
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent("the body is not an event as this gateway sends them") from error


def _store(gateway: str, event: _Event) -> bool:
    fact = event.data if isinstance(event, _KnownEvent) else None
    # Read and written again: what is valid JSON to one reader may not be to the database.
    payload = msgspec.json.encode(event).decode()
    row: list[Any] = [
        gateway,
        event.id,
        event.type,
        fact.key if fact else "",
        fact.order_id if fact else "",
        fact.amount if fact else 0,
        fact.currency if fact else "",
        fact.at if fact else None,
        payload,
        _Status.RECEIVED if fact else _Status.IGNORED,
        fact is None,
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql.STORE_EVENT, row)
        return bool(cursor.rowcount)


def _find(events: Sequence[PaymentWebhookReceived], *, lock: bool = False) -> dict[tuple[str, str], WebhookEvent]:
    wanted = {(event.gateway, event.event_id) for event in events}
    gateways = {gateway for gateway, _ in wanted}
    rows = WebhookEvent.objects.filter(gateway__in=gateways, event_id__in=[event_id for _, event_id in wanted])
    if lock:
        rows = rows.select_for_update(no_key=True).order_by("pk")
    return {(row.gateway, row.event_id): row for row in rows if (row.gateway, row.event_id) in wanted}


def _entry(row: WebhookEvent) -> Entry:
    assert row.occurred_at is not None  # noqa: S101 - an event of a known type has one
    return Entry(
        kind=_KINDS[_Type(row.type)],
        key=row.key,
        order_id=row.order_id,
        at=row.occurred_at,
        amount=row.amount,
        currency=row.currency,
    )


def _report_dispute(row: WebhookEvent) -> None:
    book = book_of(gateway=row.gateway)
    if book is None:
        return
    at_stake = f"{to_text(minor_units=row.amount, currency=row.currency)} {row.currency}"
    found = Found(
        finding="disputed",
        key=row.key,
        order_id=row.order_id,
        detail=f"the customer disputes the charge: {at_stake} at stake",
        amount=row.amount,
        currency=row.currency,
    )
    with transaction.atomic():
        report_mismatches(book=book, found=[found])


def _hasten(rows: Iterable[WebhookEvent]) -> None:
    for row in rows:
        place = place_of(row.key) if row.type == _Type.CHARGED else None
        if place is not None and place.direction == ACTION and hasten(place=place, consumer=SOURCE):
            WebhookEvent.objects.filter(pk=row.pk).update(hastened_at=Now())


def _count(tally: Mapping[tuple[str, str, str], int]) -> None:
    for (gateway, wire_type, outcome), times in tally.items():
        WEBHOOKS.labels(gateway, wire_type, outcome).inc(times)
