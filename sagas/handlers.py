"""The engine as a consumer: events in, decisions and commands out, a batch at a time.

Its own rows are its inbox: a saga starts insert-first under a unique key, and a reply counts only while its step is
awaited, so an event that comes twice, late or out of order is ignored and counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connections
from uuid_utils.compat import uuid7

from outbox.consumers import Consumer, Joined, Outcome, RetryPolicy, Wait
from outbox.contracts import Envelope, Event, FailureEvent, Message, MessageDeadLettered
from outbox.metrics import DUPLICATES
from payments.contracts import PaymentMismatchFound
from sagas import engine, sql
from sagas.definition import SagaDefinition, definitions, events_of_interest, latest
from sagas.inputs import CancelRequested, Input, reply
from sagas.instances import CaseFile, Changes, Loaded, database_now, insert, load
from sagas.models import Case
from shipping.contracts import ShipmentMismatchFound

# What a context finds out about its outside world, and no step waits for: it opens a case beside any saga.
REPORTS: tuple[type[Message], ...] = (PaymentMismatchFound, ShipmentMismatchFound)
# An event that the engine gives up blocks its order. A deploy that is half done may take minutes, and ten tries last
# as long: what the old code cannot do the new code does.
PATIENT = RetryPolicy(bug_attempts=10, base=timedelta(seconds=1), cap=timedelta(seconds=60))
# A saga whose key is locked by another one looks again after this long.
LOCK_WAIT = timedelta(milliseconds=250)
# One that has waited for longer than this is put before a person, and looks only so often from then on.
LOCK_PATIENCE = timedelta(hours=1)
LOCK_LONG_WAIT = timedelta(minutes=1)


def handle(batch: Sequence[Envelope[Any]]) -> Sequence[Outcome]:
    """Apply a batch of events to the sagas they start, answer or turn."""
    changes = Changes(batch[0].claimed_at or database_now())
    outcomes: dict[UUID, Outcome] = _start(batch, changes)
    keys = [e.subject for e in batch if type(e.data) in _cancelling()]
    by_key = _live_of(keys)
    wanted = {e.correlation_id for e in batch if e.correlation_id is not None}
    loaded = load(wanted.union(*by_key.values()))
    changes.cases += _reported(batch)
    for envelope in batch:
        if _is_plain_dead_letter(envelope, loaded):
            changes.cases.append(_case(envelope))
        else:
            for saga in _concerned(envelope, loaded, by_key):
                _apply(envelope, saga, changes)
    changes.write()
    return [outcomes.get(envelope.id) for envelope in batch]


def consumer() -> Consumer:
    """Return the engine's table of handlers: one for every event that any definition knows."""
    joined = Joined(handle=handle, policy=PATIENT)
    events: tuple[type[Message], ...] = (*events_of_interest(definitions()), *REPORTS)
    return Consumer("sagas", dict.fromkeys(events, joined), deduplicates=False)


@cache
def _starters() -> dict[type[Message], tuple[SagaDefinition, ...]]:
    starters: dict[type[Message], set[str]] = defaultdict(set)
    for name, version in definitions():
        starters[definitions()[name, version].started_by].add(name)
    newest = {event: [latest(name) for name in sorted(names)] for event, names in starters.items()}
    return {event: tuple(d for d in found if d.started_by is event) for event, found in newest.items()}


@cache
def _cancelling() -> frozenset[type[Message]]:
    return frozenset(d.cancelled_by for d in definitions().values() if d.cancelled_by is not None)


def _start(batch: Sequence[Envelope[Any]], changes: Changes) -> dict[UUID, Outcome]:
    starting: list[tuple[Envelope[Any], Loaded, engine.Decision]] = []
    for envelope in batch:
        for definition in _starters().get(type(envelope.data), ()):
            decision = engine.start(
                definition, saga_id=uuid7(), key=envelope.subject, event=envelope.data, now=changes.now
            )
            loaded = Loaded(
                definition,
                decision.instance,
                envelope.traceparent or "",
                changes.now,
                decision.instance,
                new=True,
            )
            starting.append((envelope, loaded, decision))
    if not starting:
        return {}
    begun = insert([loaded for _, loaded, _ in starting], using=changes.using)
    turned_away = []
    for envelope, loaded, decision in starting:
        if loaded.instance.id in begun:
            changes.apply(loaded, decision, cause=envelope.id)
        else:
            turned_away.append((envelope, loaded))
    return _turn_away(turned_away, changes) if turned_away else {}


def _turn_away(turned_away: Sequence[tuple[Envelope[Any], Loaded]], changes: Changes) -> dict[UUID, Outcome]:
    """Tell duplicates from sagas that find their key locked by another one."""
    with connections[changes.using].cursor() as cursor:
        pairs = [(new.instance.key, new.definition.name) for _, new in turned_away]
        cursor.execute(sql.KNOWN, [list(column) for column in zip(*pairs, strict=True)])
        known = set(cursor.fetchall())
    outcomes: dict[UUID, Outcome] = {}
    for envelope, new in turned_away:
        if (new.instance.key, new.definition.name) in known:
            DUPLICATES.inc()
        elif new.definition.on_conflict == "wait":
            # The answers that the other saga waits for come under the same key: let them pass.
            reason = f"another saga holds the lock {new.definition.lock!r}"
            is_long = changes.now - envelope.time > LOCK_PATIENCE
            outcomes[envelope.id] = Wait(LOCK_LONG_WAIT if is_long else LOCK_WAIT, reason, steps_aside=True)
            if is_long:
                changes.cases.append(_lock_case(envelope, new, "waits"))
        else:
            changes.cases.append(_lock_case(envelope, new, "was refused"))
    return outcomes


def _lock_case(envelope: Envelope[Any], new: Loaded, what: str) -> CaseFile:
    return CaseFile(
        key=envelope.subject,
        error_class="SemanticLockHeld",
        error=f"{new.definition.name} {what}: another saga holds the lock {new.definition.lock!r}",
        fingerprint="semantic-lock",
        message_id=envelope.id,
        destination="sagas",
    )


def _live_of(keys: Sequence[UUID]) -> dict[UUID, set[UUID]]:
    if not keys:
        return {}
    with connections["default"].cursor() as cursor:
        cursor.execute(sql.LIVE_OF_KEYS, [list(keys)])
        by_key: dict[UUID, set[UUID]] = defaultdict(set)
        for key, saga_id in cursor.fetchall():
            by_key[key].add(saga_id)
        return by_key


def _concerned(envelope: Envelope[Any], loaded: dict[UUID, Loaded], by_key: dict[UUID, set[UUID]]) -> list[Loaded]:
    if type(envelope.data) in _cancelling():
        sagas = [loaded[saga_id] for saga_id in by_key.get(envelope.subject, ()) if saga_id in loaded]
        return [saga for saga in sagas if saga.definition.cancelled_by is type(envelope.data)]
    saga = loaded.get(envelope.correlation_id) if envelope.correlation_id else None
    return [saga] if saga is not None else []


def _reported(batch: Sequence[Envelope[Any]]) -> list[CaseFile]:
    """Return a case for every report, but one for each order and kind; none where a person has it already."""
    reports = [envelope for envelope in batch if isinstance(envelope.data, REPORTS)]
    if not reports:
        return []
    files = {(envelope.subject, envelope.data.finding): envelope for envelope in reports}
    keys = [envelope.subject for envelope in reports]
    # Events of one order come one after the other, so nobody opens the same case meanwhile.
    is_open = set(Case.objects.filter(key__in=keys, status=Case.Status.OPEN).values_list("key", "fingerprint"))
    return [
        CaseFile(
            key=key,
            error_class=type(envelope.data).__name__,
            error=f"{finding}: {envelope.data.detail}",
            fingerprint=finding,
            message_id=envelope.id,
            destination="sagas",
            # What moves no money says nothing of it, and 0 is an amount that nobody knows.
            amount=getattr(envelope.data, "amount", 0) or None,
            currency=getattr(envelope.data, "currency", "") or None,
        )
        for (key, finding), envelope in files.items()
        if (key, finding) not in is_open
    ]


def _is_plain_dead_letter(envelope: Envelope[Any], loaded: dict[UUID, Loaded]) -> bool:
    """Whether this tells of a dead event, or of a command outside any saga: no step waits for it."""
    data = envelope.data
    if not isinstance(data, MessageDeadLettered):
        return False
    return data.message_kind == "event" or envelope.correlation_id not in loaded


def _apply(envelope: Envelope[Any], saga: Loaded, changes: Changes) -> None:
    event = _input(envelope)
    if event is None:
        return
    decision = engine.decide(saga.definition, saga.instance, event, changes.now)
    if decision.ignored:
        DUPLICATES.inc()
        if isinstance(envelope.data, MessageDeadLettered):
            changes.cases.append(_case(envelope))
        return
    changes.apply(saga, decision, cause=envelope.id)
    for name in decision.stuck:
        changes.cases.append(_case(envelope, saga, name))
    turned_back = not saga.before.reason and saga.instance.reason
    if isinstance(envelope.data, MessageDeadLettered) and turned_back and not decision.stuck:
        # The saga helps itself and turns back; why its command could not be handled is for a person to find out.
        changes.cases.append(_case(envelope))


def _input(envelope: Envelope[Any]) -> Input | None:
    data: Event = envelope.data
    if type(data) in _cancelling():
        return CancelRequested(getattr(data, "reason", "") or "cancelled")
    if envelope.step is None or envelope.direction is None:
        return None
    return reply(data, step=envelope.step, direction=envelope.direction)


def _case(envelope: Envelope[Any], saga: Loaded | None = None, step: str = "") -> CaseFile:
    data = envelope.data
    file = CaseFile(key=envelope.subject, error_class="", error="", fingerprint="")
    if isinstance(data, MessageDeadLettered):
        file.error_class, file.error, file.fingerprint = data.error_class, data.error, data.fingerprint
        file.message_id, file.destination, file.attempts = data.message_id, data.destination, data.attempts
    elif isinstance(data, FailureEvent):
        file.error_class, file.error = type(data).__name__, f"{data.reason}: {data.detail}".rstrip(": ")
        file.fingerprint, file.message_id = data.reason, envelope.causation_id
        file.destination = envelope.source
    if saga is not None:
        file.saga_id, file.step = saga.instance.id, step
        file.direction = saga.instance.steps[step].direction
    return file
