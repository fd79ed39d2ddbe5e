"""One intent, one effect, one answer: what lets a client repeat a request whose answer it never saw.

It follows the IETF draft on the Idempotency-Key header. A key belongs to one customer and one endpoint. Its
first request runs, and its answer is written in the same transaction as its effect, so either both exist or
neither does. Whoever comes while that transaction is open is told so at once instead of being made to wait.
Afterwards the same request gets the same bytes, another request with that key is refused.

What is kept: every answer that the operation returns, a refusal for business reasons among them. What is not:
an exception (a field error, a failure of ours), for a corrected or later request must be able to run.

An answer is kept for `IDEMPOTENCY_KEY_TTL` seconds. Past that the key does not become free: it stays taken by
what it made, if it made something, and says so. A key that was only refused is forgotten with its answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections, models, transaction
from django.db.models.functions import Now
from prometheus_client import Counter

from outbox.consumers import DomainError
from outbox.transactions import rerun_on_conflict

REQUESTS = Counter("idempotency_requests_total", "Requests with an idempotency key, by outcome", ["outcome"])

MAX_KEY_LENGTH = 255
# A concurrent first request is over within milliseconds, or its process died and its lock went with it.
RETRY_AFTER_SECONDS = 1

_BARE = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~:/=@]+")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')


class IdempotencyKey(models.Model):
    """A key that was used, and the answer that its request got; `body` is gone once the answer has expired.

    `location` names what the request made, if it made something.
    """

    customer_id = models.BigIntegerField()
    endpoint = models.TextField()
    key = models.TextField()
    fingerprint = models.BinaryField()
    status = models.SmallIntegerField()
    location = models.TextField()
    content_type = models.TextField()
    body = models.BinaryField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        app_label = "outbox"
        constraints = (
            models.UniqueConstraint(fields=("customer_id", "endpoint", "key"), name="outbox_idempotencykey_scope"),
            models.CheckConstraint(
                name="outbox_idempotencykey_no_failure", condition=models.Q(status__gte=200, status__lt=500)
            ),
        )
        indexes = (
            models.Index(
                fields=("expires_at",),
                name="outbox_idempotencykey_answers",
                condition=models.Q(body__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.endpoint} {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request as the layer sees it: whose, of which endpoint, with which key, and what it asks for."""

    customer_id: int
    endpoint: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it goes over the wire. `location` is what the request made, empty if nothing."""

    status: int
    body: bytes
    content_type: str = "application/json"
    location: str = ""
    is_replayed: bool = field(default=False, compare=False)


class KeyMissing(DomainError):
    """The request needs an Idempotency-Key header."""


class KeyInvalid(DomainError):
    """The Idempotency-Key header is not a token or a quoted string of at most 255 characters."""


class KeyInFlight(DomainError):
    """The first request with this key is still being answered."""


class KeyReused(DomainError):
    """The key belongs to a request with other content."""


class KeyExpired(DomainError):
    """The key was used, and its answer is no longer kept; `location` names what it made."""

    def __init__(self, *, location: str) -> None:
        super().__init__()
        self.location = location


def parse_key(*, header: str | None) -> str:
    """Return the key that an Idempotency-Key header holds, bare or as a quoted string.

    Raises `KeyMissing` and `KeyInvalid`.
    """
    if header is None:
        REQUESTS.labels("missing").inc()
        raise KeyMissing
    header = header.strip(" \t")
    quoted = _QUOTED.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header
    if not (quoted or _BARE.fullmatch(header)) or len(key) > MAX_KEY_LENGTH:
        REQUESTS.labels("invalid").inc()
        raise KeyInvalid
    return key


def fingerprint(*, path: str, body: Any) -> bytes:
    """Return a hash that is the same for the same JSON value sent to the same path, however it is written."""
    canonical = json.dumps([path, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).digest()


def answer_once(*, request: KeyedRequest, operation: Callable[[], Answer], using: str = "default") -> Answer:
    """Run the operation and keep its answer, in one transaction; or return the answer that was kept.

    The operation must not open a connection to anything else; what it raises undoes everything and passes
    through, but for a lost deadlock, after which it is run again. Raises `KeyInFlight`, `KeyReused` and `KeyExpired`.
    """
    try:
        answer = _answer_once(request, operation, using)
    except (KeyInFlight, KeyReused, KeyExpired) as refusal:
        REQUESTS.labels(_REFUSALS[type(refusal)]).inc()
        raise
    REQUESTS.labels("replayed" if answer.is_replayed else "first").inc()
    return answer


def amend_answer(*, request: KeyedRequest, answer: Answer, using: str = "default") -> None:
    """Keep a later answer in place of the first one, for a client that waited and is given this one.

    A repetition that comes while the client still waits gets the first answer; all later ones get this one.
    """
    _row_of(request, using).update(status=answer.status, body=answer.body)


def prune_expired(*, batch: int = 1_000, batches: int = 100, using: str = "default") -> int:
    """Drop the answers that have expired, in short transactions; return how many.

    Keys that made something stay, a hundred bytes each, for they must not make it again.
    """
    total = 0
    for _ in range(batches):
        pruned = _prune_batch(batch, using)
        total += pruned
        if pruned < batch:
            break
    return total


@rerun_on_conflict
def _answer_once(request: KeyedRequest, operation: Callable[[], Answer], using: str) -> Answer:
    with transaction.atomic(using=using):
        _take_lock(request, using)
        kept = _kept(request, using)
        if kept is not None:
            return kept
        answer = operation()
        _keep(request, answer, using)
    return answer


def _prune_batch(batch: int, using: str) -> int:
    keys = IdempotencyKey.objects.using(using)
    with transaction.atomic(using=using):
        expired = keys.filter(expires_at__lte=Now(), body__isnull=False).order_by("expires_at")
        rows = list(expired.select_for_update(skip_locked=True).values_list("pk", "location")[:batch])
        keys.filter(pk__in=[pk for pk, location in rows if location]).update(body=None)
        keys.filter(pk__in=[pk for pk, location in rows if not location]).delete()
    return len(rows)


def _take_lock(request: KeyedRequest, using: str) -> None:
    """Hold the key until the transaction ends, or refuse at once: a plain insert would wait."""
    scope = json.dumps([request.customer_id, request.endpoint, request.key]).encode()
    number = int.from_bytes(hashlib.sha256(scope).digest()[:8], "big", signed=True)
    with connections[using].cursor() as cursor:
        cursor.execute(_LOCK, [number])
        (is_taken,) = cursor.fetchone()
    if not is_taken:
        raise KeyInFlight


def _kept(request: KeyedRequest, using: str) -> Answer | None:
    """Return the kept answer. Asked after the lock, for the snapshot must show what its last holder wrote."""
    with connections[using].cursor() as cursor:
        cursor.execute(_KEPT, [request.customer_id, request.endpoint, request.key])
        row = cursor.fetchone()
    if row is None:
        return None
    kept_fingerprint, status, location, content_type, body, is_expired = row
    if bytes(kept_fingerprint) != request.fingerprint:
        raise KeyReused
    if is_expired and not location:
        _row_of(request, using).delete()
        return None
    if is_expired:
        raise KeyExpired(location=location)
    return Answer(status=status, body=bytes(body), content_type=content_type, location=location, is_replayed=True)


def keys_of(*, customer_id: int, order_id: UUID, using: str = "default") -> models.QuerySet[IdempotencyKey]:
    """Return the keys of the requests that made this order: one, unless it was made by hand.

    Index: outbox_idempotencykey_scope, whose rows of one customer are read.
    """
    keys = IdempotencyKey.objects.using(using).filter(customer_id=customer_id, location__endswith=f"/{order_id}")
    return keys.defer("body", "fingerprint").order_by("id")


def _keep(request: KeyedRequest, answer: Answer, using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(
            _KEEP,
            [
                request.customer_id,
                request.endpoint,
                request.key,
                request.fingerprint,
                answer.status,
                answer.location,
                answer.content_type,
                answer.body,
                settings.IDEMPOTENCY_KEY_TTL,
            ],
        )


def _row_of(request: KeyedRequest, using: str) -> models.QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.using(using).filter(
        customer_id=request.customer_id, endpoint=request.endpoint, key=request.key
    )


_REFUSALS: Mapping[type[DomainError], str] = {
    KeyInFlight: "in_flight",
    KeyReused: "reused",
    KeyExpired: "expired",
}

# A lock that is not waited for, given back with the transaction. Touches no table.
_LOCK = "SELECT pg_try_advisory_xact_lock(%s::bigint)"

# Index: outbox_idempotencykey_scope. Locks nothing: the key is held already.
_KEPT = """
SELECT fingerprint, status, location, content_type, body, body IS NULL OR expires_at <= now()
FROM outbox_idempotencykey
WHERE customer_id = %s::bigint AND endpoint = %s AND key = %s
"""

# Index: outbox_idempotencykey_scope, which is the last word should the lock ever fail. Locks nothing that exists.
_KEEP = """
INSERT INTO outbox_idempotencykey
    (customer_id, endpoint, key, fingerprint, status, location, content_type, body, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, statement_timestamp() + make_interval(secs => %s))
"""
