"""The thin shell around the engine: load a batch of instances under lock, decide, write in bulk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connections, transaction

from outbox.publishing import Outgoing, publish
from sagas import metrics, sql
from sagas.definition import SagaDefinition, definitions
from sagas.engine import Decision, due_at
from sagas.states import Instance, SagaStatus, StepState

SOURCE = "sagas"
# Who is asked when nobody has taken a case yet.
DEFAULT_OWNER = "on-call"

_encode = msgspec.json.Encoder().encode
_decode_steps = msgspec.json.Decoder(dict[str, StepState]).decode
_decode_data = msgspec.json.Decoder(dict[str, Any]).decode


class UnknownDefinition(LookupError):
    """A saga in flight was begun by a version that this release no longer has; deploy one that has it."""


@dataclass(slots=True)
class Loaded:
    """An instance under lock, with its definition and what goes along with it."""

    definition: SagaDefinition
    instance: Instance
    traceparent: str
    started_at: datetime
    before: Instance
    new: bool = False


@dataclass(slots=True)
class CaseFile:
    """What is put on the desk. Without an amount, in minor units, that of its saga counts."""

    key: UUID
    error_class: str
    error: str
    fingerprint: str
    saga_id: UUID | None = None
    step: str = ""
    direction: str = ""
    message_id: UUID | None = None
    destination: str = ""
    attempts: int = 0
    amount: int | None = None
    currency: str | None = None


@dataclass(slots=True)
class Changes:
    """What a batch of decisions adds up to; `write` puts it into the database in a handful of statements."""

    now: datetime
    using: str = "default"
    changed: dict[UUID, Loaded] = field(default_factory=dict)
    outgoing: list[Outgoing] = field(default_factory=list)
    cases: list[CaseFile] = field(default_factory=list)

    def apply(self, loaded: Loaded, decision: Decision, *, cause: UUID | None) -> None:
        """Take over a decision: the next one about the same instance sees its result."""
        if decision.ignored:
            return
        loaded.instance = decision.instance
        self.changed[decision.instance.id] = loaded
        for order in decision.orders:
            self.outgoing.append(
                Outgoing(
                    data=order.command,
                    source=SOURCE,
                    subject=decision.instance.key,
                    correlation_id=decision.instance.id,
                    causation_id=cause,
                    traceparent=loaded.traceparent or None,
                    step=order.step,
                    direction=order.direction,
                )
            )

    def look_again(self, loaded: Loaded) -> None:
        """Save an instance as it is, so that its next deadline is that of the definition as it reads now."""
        self.changed.setdefault(loaded.instance.id, loaded)

    def write(self) -> None:
        """Save changed instances, publish their commands, open and close cases. The caller's transaction."""
        touched = [loaded for loaded in self.changed.values() if not loaded.new]
        with connections[self.using].cursor() as cursor:
            if touched:
                cursor.execute(
                    sql.SAVE,
                    [
                        [loaded.instance.id for loaded in touched],
                        [loaded.instance.status.value for loaded in touched],
                        [loaded.instance.reason for loaded in touched],
                        [_encode(loaded.instance.steps).decode() for loaded in touched],
                        [due_at(loaded.definition, loaded.instance) for loaded in touched],
                    ],
                )
            recovered = [pair for loaded in touched for pair in _recovered(loaded)]
            if recovered:
                cursor.execute(sql.CLOSE_RECOVERED, [list(column) for column in zip(*recovered, strict=True)])
            if self.cases:
                cursor.execute(sql.OPEN_CASES, _case_columns(self.cases))
        publish(self.outgoing, using=self.using)
        everything, now = list(self.changed.values()), self.now
        transaction.on_commit(lambda: _observe(everything, now), using=self.using)


def database_now(*, using: str = "default") -> datetime:
    """Return the database's clock: one worker's clock may be minutes off."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql.CLOCK)
        now: datetime = cursor.fetchone()[0]
        return now


def load(saga_ids: Collection[UUID], *, using: str = "default") -> dict[UUID, Loaded]:
    """Lock and return these instances. Raises `UnknownDefinition` when a release lost a version in flight."""
    if not saga_ids:
        return {}
    known = definitions()
    loaded: dict[UUID, Loaded] = {}
    with connections[using].cursor() as cursor:
        cursor.execute(sql.LOAD, [list(saga_ids)])
        for (
            saga_id,
            name,
            version,
            key,
            status,
            reason,
            steps,
            data,
            traceparent,
            started_at,
        ) in cursor.fetchall():
            if (name, version) not in known:
                raise UnknownDefinition(f"saga {saga_id} runs {name!r} version {version}")
            instance = Instance(saga_id, key, SagaStatus(status), _decode_steps(steps), _decode_data(data), reason)
            loaded[saga_id] = Loaded(known[name, version], instance, traceparent, started_at, instance)
    return loaded


def insert(starting: Sequence[Loaded], *, using: str = "default") -> set[UUID]:
    """Insert new instances; returns the ids of those that a unique key let in."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            sql.START,
            [
                [new.instance.id for new in starting],
                [new.definition.name for new in starting],
                [new.definition.version for new in starting],
                [new.instance.key for new in starting],
                [new.instance.status.value for new in starting],
                [_encode(new.instance.steps).decode() for new in starting],
                [_encode(new.instance.data).decode() for new in starting],
                [new.definition.lock for new in starting],
                [new.traceparent for new in starting],
                [due_at(new.definition, new.instance) for new in starting],
            ],
        )
        return {row[0] for row in cursor.fetchall()}


def _recovered(loaded: Loaded) -> list[tuple[UUID, str]]:
    return [
        (loaded.instance.id, name)
        for name, state in loaded.before.steps.items()
        if state.status == "STUCK" and loaded.instance.steps[name].status != "STUCK"
    ]


def _case_columns(cases: Sequence[CaseFile]) -> list[Any]:
    return [
        DEFAULT_OWNER,
        timedelta(hours=settings.CASE_DUE_HOURS),
        [case.saga_id for case in cases],
        [case.key for case in cases],
        [case.step for case in cases],
        [case.direction for case in cases],
        [case.message_id for case in cases],
        [case.destination for case in cases],
        [case.error_class for case in cases],
        [case.error for case in cases],
        [case.fingerprint for case in cases],
        [case.attempts for case in cases],
        [case.amount for case in cases],
        [case.currency for case in cases],
    ]


def _observe(everything: Sequence[Loaded], now: datetime) -> None:
    for loaded in everything:
        name, after, before = loaded.definition.name, loaded.instance, loaded.before
        if loaded.new:
            metrics.STARTED.labels(name, metrics.FLOW).inc()
        if after.reason and not before.reason:
            metrics.COMPENSATIONS.labels(name, metrics.FLOW).inc()
        for step, state in after.steps.items():
            earlier = before.steps.get(step, StepState())
            if state.ended_at and state.ended_at != earlier.ended_at and state.started_at:
                seconds = (state.ended_at - state.started_at).total_seconds()
                metrics.STEP_SECONDS.labels(name, step, state.direction, state.status.value.lower()).observe(seconds)
        if after.status != before.status and after.status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED):
            counter = metrics.COMPLETED if after.status is SagaStatus.COMPLETED else metrics.COMPENSATED
            counter.labels(name, metrics.FLOW).inc()
            seconds = (now - loaded.started_at).total_seconds()
            metrics.SECONDS.labels(name, after.status.value.lower()).observe(seconds)
