"""How a context declares what it consumes: one explicit table per context, named in its `apps.py`.

A *joined* handler only touches its own database: claim, handling and settling are one transaction. An *effectful*
handler talks to the outside world: what is due is claimed with a lease, the call is made outside any transaction,
and the outcome is recorded in a second transaction, fenced by the claim token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from outbox.contracts import Envelope, Event, Message

if TYPE_CHECKING:
    from outbox.ledgers import Entry


class DomainError(Exception):
    """Anticipated: it becomes a failure event or a 4xx answer, is never retried and never paged."""


class TransientError(Exception):
    """Try again later: the outside world is slow or away.

    `retry_after` is the least that the next try has to wait, in seconds. With `is_outage` the whole service is away,
    whatever was asked of it: then the try does not count.
    """

    def __init__(self, *args: object, retry_after: float = 0.0, is_outage: bool = False) -> None:
        super().__init__(*args)
        self.retry_after = retry_after
        self.is_outage = is_outage


class HandlerBroke(RuntimeError):
    """A handler must return one outcome per message, in order."""


# The error class of deliveries that wait for the end of an outage.
OUTAGE = "Outage"
# The error class of deliveries that a person has had made anew, with an edited message or after the attempts had been
# given up: not "", since the outside world may have heard of their keys and has to be asked first.
MADE_ANEW = "MadeAnew"


@dataclass(frozen=True, slots=True)
class Retry:
    """Outcome: try this message again after its backoff, until its attempts are spent."""

    error: str
    error_class: str = "TransientError"


@dataclass(frozen=True, slots=True)
class Wait:
    """Outcome: not now, and the attempt does not count.

    With `steps_aside` the message goes behind all that its key has for this consumer: what it waits for may be there.
    `error_class` is `OUTAGE` for a message that waits because the whole outside service is away.
    """

    delay: timedelta
    reason: str
    steps_aside: bool = False
    error_class: str = ""


Outcome: TypeAlias = Event | Retry | Wait | None
"""What a handler says of one message: its reply, "later", or nothing."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a message is tried, and how long it rests in between: exponential with full jitter.

    The wait before attempt n+1 is uniform in [0, min(cap, base * 2**(n-1))]
    (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/).
    """

    attempts: int = 5
    # A bug does not go away by waiting; two more tries cover a worker that was out of luck.
    bug_attempts: int = 3
    base: timedelta = timedelta(milliseconds=500)
    cap: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the outside world says of a command, when it is asked and nothing is changed.

    `has_key` says that it has dealt with the command's key: sent again, it does nothing more. `is_done` says that it
    was carried out, and not refused. `answer` tells it in words, `entries` is all that its ledger says of the order.
    """

    has_key: bool
    is_done: bool
    answer: str
    entries: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """Handle a batch inside the relay's own transaction. Returns one outcome per envelope, in order."""

    handle: Callable[[Sequence[Envelope[Any]]], Sequence[Outcome]]
    policy: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class Effectful:
    """Handle messages that need the outside world, in three parts.

    `call` gets one envelope, runs in a thread, outside any transaction, and returns an answer or raises
    `TransientError`; it must be idempotent by `envelope.step_key`. An outside world that takes many at once is
    asked by `call_together` instead, which gets up to `together` envelopes and returns one answer each. `record`
    gets the envelopes with their answers, in a transaction, and returns one outcome each. `give_up` is asked when
    the attempts are spent and returns the event that says so, or None to leave a dead letter (the right choice for
    compensations). `gateway` names the service of the outside world that is called, at most `calls` times for one
    message: while its breaker is open nothing is claimed, and its limit of calls holds over all workers.
    """

    call: Callable[[Envelope[Any]], Any] | None = None
    call_together: Callable[[Sequence[Envelope[Any]]], Sequence[Any]] | None = None
    together: int = 100
    record: Callable[[Sequence[tuple[Envelope[Any], Any]]], Sequence[Outcome]] = field(kw_only=True)
    give_up: Callable[[Envelope[Any], str], Event | None] | None = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    gateway: str = ""
    calls: int = 1
    ask: Callable[[Envelope[Any]], Known] | None = None


Handler: TypeAlias = Joined | Effectful


@dataclass(frozen=True, slots=True)
class Consumer:
    """One destination: its name and its table of handlers.

    Commands are deduplicated by the barrier, events by the inbox. A consumer whose own rows say what was applied
    (the saga engine) sets `deduplicates=False` and answers for it itself.
    """

    name: str
    handlers: Mapping[type[Message], Handler]
    deduplicates: bool = True


class Registry:
    """The consumers of this process, by name; filled by each context's `apps.py` and nowhere else."""

    def __init__(self) -> None:
        self._consumers: dict[str, Consumer] = {}

    def register(self, consumer: Consumer) -> None:
        """Add a consumer. Raises `ValueError` if the name is taken by another one."""
        known = self._consumers.get(consumer.name)
        if known is not None and known is not consumer:
            raise ValueError(f"two consumers are named {consumer.name!r}")
        self._consumers[consumer.name] = consumer

    def __getitem__(self, name: str) -> Consumer:
        return self._consumers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._consumers

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._consumers.values())


CONSUMERS = Registry()
