"""Deliver to effectful handlers: claim with a lease, call outside any transaction, record behind a fence.

Calls run side by side in threads; whatever has answered is recorded in groups, so that one slow call holds up
nobody else's outcome.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, transaction

from outbox import calls
from outbox.claims import Claimed, claim_leased, renew, still_held
from outbox.consumers import OUTAGE, Consumer, Effectful, HandlerBroke, Outcome, TransientError, Wait
from outbox.contracts import Message
from outbox.horizon import Horizon
from outbox.inbox import settle_places, take_places
from outbox.metrics import BATCH, FENCED
from outbox.outcomes import Failure, settle
from outbox.transactions import is_passing

log = structlog.get_logger(__name__)

# Claim no more than can be called in this time: the rest is better off with another worker.
AHEAD_SECONDS = 0.1
# After the first answer wait this long for more, so that a busy hour is recorded in groups and not one by one.
GATHER_SECONDS = 0.01
# An outcome that could not be recorded is tried again after this long.
AGAIN_SECONDS = 0.1
# The pace of calls is a moving average over about so many.
PACE_MEMORY = 20
# A worker that is killed takes a try with it. After so many beyond the policy the message itself is suspected.
LOST_TRIES = 3
NO_OUTCOME = Failure("NoOutcome", "its last tries ended without an outcome: the workers died or lost the database")


class LeaseOver(TransientError):
    """The claim is no longer ours, so the call is not made."""


# What a call may raise without being broken: the outside world, or our own database, is slow or away.
_PASSING = (TransientError, OperationalError, InterfaceError)


class EffectPump:
    """Keep up to `settings.EFFECTS_CONCURRENCY` calls in flight, and record them as they answer."""

    def __init__(self, *, using: str = "default", horizon: Horizon | None = None) -> None:
        self._using = using
        self._horizon = horizon
        self._pool = ThreadPoolExecutor(settings.EFFECTS_CONCURRENCY, thread_name_prefix="effect")
        self._in_flight: dict[Future[tuple[list[Any], list[calls.Made], float]], tuple[Consumer, list[Claimed]]] = {}
        # Calls of the outside world that are not written down yet: they go with the next outcome that is recorded.
        self._made: list[calls.Made] = []
        self._renewed_at = time.monotonic()
        self._pace = AHEAD_SECONDS

    @property
    def room(self) -> int:
        """How many more messages it makes sense to claim: what can be called within `AHEAD_SECONDS`.

        A slow outside world leaves the rest to other workers; a quick one makes for large batches.
        """
        at_once = settings.EFFECTS_CONCURRENCY
        ahead = min(settings.RELAY_BATCH, max(2 * at_once, int(at_once * AHEAD_SECONDS / self._pace)))
        return max(0, ahead - sum(len(chunk) for _, chunk in self._in_flight.values()))

    @property
    def idle(self) -> int:
        """How many more calls would be made at once, without a turn to wait for."""
        return max(0, settings.EFFECTS_CONCURRENCY - len(self._in_flight))

    @property
    def busy(self) -> bool:
        """Whether calls are in flight."""
        return bool(self._in_flight)

    def claim(self, *, consumer: Consumer, lane: str, types: Sequence[str], limit: int) -> int:
        """Claim what is due, take its places, start its calls. Returns how many messages were claimed."""
        using = self._using
        with transaction.atomic(using=using):
            claimed = claim_leased(
                consumer=consumer, lane=lane, types=types, limit=limit, using=using, horizon=self._horizon
            )
            if not claimed:
                return 0
            failed = [(one, Failure.of(one.unreadable, permanent=True)) for one in claimed if one.unreadable]
            known = [one for one in claimed if one.unreadable is None]
            withdrawn = [one for one in known if one.turned_back]
            failed += [(one, NO_OUTCOME) for one in known if not one.turned_back and _is_spent(consumer, one)]
            apart = {one.delivery_id for one in (*withdrawn, *(one for one, _ in failed))}
            readable = [one for one in known if one.delivery_id not in apart]
            passed = take_places(consumer=consumer, claimed=readable, settled=False, using=using)
            if failed or withdrawn or passed.skipped:
                over = settle(
                    consumer=consumer, outcomes=failed, skipped=passed.skipped, withdrawn=withdrawn, using=using
                )
                settle_places(consumer=consumer, claimed=over, using=using)
        for handler, chunk in _chunks(consumer, passed.fresh):
            self._in_flight[self._pool.submit(_call, handler, chunk)] = (consumer, chunk)
        BATCH.labels(lane).observe(len(claimed))
        return len(claimed)

    def collect(self, *, seconds: float) -> int:
        """Record the calls that have answered, waiting at most so long for the first. Returns their number."""
        if not self._in_flight:
            return 0
        done, waiting = wait(self._in_flight, timeout=seconds, return_when=FIRST_COMPLETED)
        if done and waiting:
            done, _ = wait(self._in_flight, timeout=GATHER_SECONDS)
        finished: dict[str, list[tuple[Claimed, Any]]] = defaultdict(list)
        consumers: dict[str, Consumer] = {}
        for future in done:
            consumer, chunk = self._in_flight.pop(future)
            consumers[consumer.name] = consumer
            answers, made, took = future.result()
            self._made += made
            self._pace += (max(took / len(chunk), 1e-5) - self._pace) / PACE_MEMORY
            finished[consumer.name] += zip(chunk, answers, strict=True)
        for name, group in finished.items():
            in_order = sorted(group, key=lambda pair: pair[0].delivery_id)
            _record_or_bisect(consumers[name], in_order, self._made, self._using)
        self._renew()
        return len(done)

    def close(self) -> None:
        """Wait for the calls in flight, record them, and let the threads go."""
        try:
            while self._in_flight:
                self.collect(seconds=settings.RELAY_LEASE_SECONDS / 4)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            if self._made:
                log.warning("outbox.calls.lost", calls=len(self._made))

    def _renew(self) -> None:
        if self._in_flight and time.monotonic() - self._renewed_at > settings.RELAY_LEASE_SECONDS / 3:
            self._renewed_at = time.monotonic()
            waiting = [claimed for _, chunk in self._in_flight.values() for claimed in chunk]
            renew(claimed=waiting, using=self._using)


def _chunks(consumer: Consumer, claimed: Sequence[Claimed]) -> Iterator[tuple[Effectful, list[Claimed]]]:
    by_handler: dict[Effectful, list[Claimed]] = defaultdict(list)
    for one in claimed:
        by_handler[_handler(consumer, one)].append(one)
    for handler, group in by_handler.items():
        size = handler.together if handler.call_together else 1
        for i in range(0, len(group), size):
            yield handler, group[i : i + size]


def _is_spent(consumer: Consumer, claimed: Claimed) -> bool:
    return claimed.attempt > _handler(consumer, claimed).policy.attempts + LOST_TRIES


def _call(handler: Effectful, chunk: Sequence[Claimed]) -> tuple[list[Any], list[calls.Made], float]:
    """Return an answer or an exception for each message of the chunk, the calls that were made, and the seconds."""
    began = time.monotonic()
    with calls.listening() as heard:
        answers = _ask(handler, chunk)
    return answers, calls.attribute(calls=heard, chunk=chunk), time.monotonic() - began


def _ask(handler: Effectful, chunk: Sequence[Claimed]) -> list[Any]:
    envelopes = [claimed.known for claimed in chunk]
    if any(claimed.held_until < time.monotonic() for claimed in chunk):
        # Another relay may have it by now, or a compensation may have overtaken it.
        return [LeaseOver("its lease ran out before its turn came")] * len(chunk)
    try:
        if handler.call_together is not None:
            answers = list(handler.call_together(envelopes))
            broke = HandlerBroke(f"{len(answers)} answers for {len(chunk)} messages")
            return answers if len(answers) == len(chunk) else [broke] * len(chunk)
        assert handler.call is not None  # noqa: S101 - one of the two is given
        return [handler.call(envelopes[0])]
    except Exception as error:  # noqa: BLE001 - an outcome like any other; the pump decides what it means
        return [error] * len(chunk)
    finally:
        # A handler may read through the ORM; the thread must not keep a connection for that.
        connections.close_all()


def _record_or_bisect(
    consumer: Consumer, finished: Sequence[tuple[Claimed, Any]], made: list[calls.Made], using: str
) -> None:
    try:
        _record_while_held(consumer, finished, made, using)
    except Exception as error:
        if is_passing(error):
            # Not recorded, so the lease runs out and the message is looked up by its key and tried again.
            log.warning("outbox.record.failed", destination=consumer.name, messages=len(finished), error=str(error))
            return
        if len(finished) > 1:
            middle = len(finished) // 2
            _record_or_bisect(consumer, finished[:middle], made, using)
            _record_or_bisect(consumer, finished[middle:], made, using)
            return
        log.warning("outbox.message.failed", destination=consumer.name, error=repr(error), exc_info=error)
        with transaction.atomic(using=using):
            held = still_held(claimed=[claimed for claimed, _ in finished], using=using)
            broken = [(c, Failure.of(error)) for c, _ in finished if c.delivery_id in held]
            settle(consumer=consumer, outcomes=broken, skipped=(), using=using)
            calls.write(made=made, using=using)
        made.clear()


def _record_while_held(
    consumer: Consumer, finished: Sequence[tuple[Claimed, Any]], made: list[calls.Made], using: str
) -> None:
    """Record in one transaction. What passes is tried again as long as the leases last: an answer is worth waiting for.

    So neither a lost deadlock nor a database that restarts costs a message one of its attempts.
    """
    held_until = min(claimed.held_until for claimed, _ in finished)
    while True:
        try:
            with transaction.atomic(using=using):
                _record(consumer, finished, using)
                calls.write(made=made, using=using)
            return made.clear()
        except Exception as error:
            if not is_passing(error) or time.monotonic() + AGAIN_SECONDS > held_until:
                raise
            log.info("outbox.record.repeated", destination=consumer.name, messages=len(finished), error=str(error))
        time.sleep(AGAIN_SECONDS)


def _record(consumer: Consumer, finished: Sequence[tuple[Claimed, Any]], using: str) -> None:
    held = still_held(claimed=[claimed for claimed, _ in finished], using=using)
    if len(held) < len(finished):
        FENCED.inc(len(finished) - len(held))
        log.warning("outbox.settle.fenced", destination=consumer.name, messages=len(finished) - len(held))
    outcomes: list[tuple[Claimed, Outcome | Failure]] = []
    answered: dict[type[Message], list[tuple[Claimed, Any]]] = defaultdict(list)
    for claimed, answer in finished:
        if claimed.delivery_id not in held:
            continue
        if isinstance(answer, TransientError) and answer.is_outage:
            outcomes.append((claimed, Wait(timedelta(seconds=answer.retry_after), str(answer), error_class=OUTAGE)))
        elif isinstance(answer, BaseException):
            outcomes.append((claimed, Failure.of(answer, bug=not isinstance(answer, _PASSING))))
        else:
            answered[type(claimed.known.data)].append((claimed, answer))
    for group in answered.values():
        handler = _handler(consumer, group[0][0])
        results = handler.record([(claimed.known, answer) for claimed, answer in group])
        outcomes += list(zip((claimed for claimed, _ in group), results, strict=True))
    over = settle(consumer=consumer, outcomes=outcomes, skipped=(), using=using)
    settle_places(consumer=consumer, claimed=over, using=using)


def _handler(consumer: Consumer, claimed: Claimed) -> Effectful:
    handler = consumer.handlers[type(claimed.known.data)]
    assert isinstance(handler, Effectful)  # noqa: S101 - the claim asked for the types of effectful handlers only
    return handler
