"""What a person may edit of a message that could not be handled, and when it is too dangerous to.

The danger is the call that nobody has heard the end of. Under the old key a bank refuses a changed body; under a new
key it might charge twice. So the outside world is asked by the old key first, and whatever it has dealt with is not
edited; what goes out then goes out under the old key, unless that one was answered for good. A call that still is on
its way and arrives after all meets its own key again: it can be refused, but it cannot act a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings

from outbox.consumers import CONSUMERS
from outbox.contracts import Command, decode
from outbox.contracts import Message as Payload
from outbox.inquiries import Call, handler_of, inquire
from outbox.models import Delivery, Message
from outbox.publishing import routing
from outbox.redaction import PERSONAL, REDACTED, redacted
from sagas.engine import Refused
from sagas.instances import database_now
from sagas.models import Case
from sagas.states import StepStatus

_IDENTITY = "it says what this is about; another one is another message"
_MONEY = "how much money moves was agreed with the customer at checkout"
_GOODS = "what was ordered and paid for is what is sent"
_BOOKS = "bank or carrier know it by this name"
FIXED: Mapping[str, str] = {
    "order_id": _IDENTITY,
    "customer_id": _IDENTITY,
    "message_id": _IDENTITY,
    "event_id": _IDENTITY,
    "gateway": _IDENTITY,
    "amount": _MONEY,
    "price": _MONEY,
    "currency": _MONEY,
    "lines": _GOODS,
    "sku": _GOODS,
    "key": _BOOKS,
    "reference": _BOOKS,
    "tracking": _BOOKS,
    "definite": "it decides whether money is given back",
}
# A request that was given up after one time-out may lie in a queue on the way; after three it is lost, as payments and
# shipping reckon too.
_TIMEOUTS_UNTIL_LOST = 3
_ABSENT = object()


class NotEditable(Refused):
    """This message cannot be edited as things are; the text says why."""


class Misfit(NotEditable):
    """The edited payload cannot be accepted; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An edited payload: of which message, and what is different, without what it says about a person.

    `dead_since` is when its delivery had died; None when it was answered for good, at `answered_at`, and is sent anew.
    `outside` is what the outside world said of its key.
    """

    message_id: UUID
    payload: dict[str, Any]
    difference: dict[str, list[Any]]
    dead_since: datetime | None
    answered_at: datetime | None
    outside: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return it with nothing but what JSON knows."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def read(cls, values: dict[str, Any]) -> Change:
        """Return what `plain` has written."""
        return msgspec.convert(values, cls)

    def command(self, message: Message) -> Command:
        """Return the edited command."""
        command = decode(_type_of(message), msgspec.json.encode(self.payload))
        assert isinstance(command, Command)  # noqa: S101 - a saga waits for commands only
        return command


def shown(message: Message) -> dict[str, Any]:
    """Return the payload as an operator may see it: what is about a person is struck out."""
    payload: dict[str, Any] = redacted(message.payload)
    return payload


def fixed_fields(message: Message) -> dict[str, str]:
    """Return the fields of the payload that stay as they are, each with the reason."""
    return {name: FIXED[name] for name in message.payload if name in FIXED}


def free_fields(message: Message) -> list[str]:
    """Return the fields that may be changed. Raises `NotEditable` for a type that this release does not know."""
    return sorted((_fields(_type_of(message)) | set(message.payload)) - set(FIXED))


def require_something_free(message: Message) -> None:
    """Raise `NotEditable` when no field of the message may be changed."""
    if not free_fields(message):
        why = "; ".join(f"{name}: {reason}" for name, reason in fixed_fields(message).items())
        raise NotEditable(f"nothing of {message.type} may be changed ({why})")


def filled_in(message: Message, edited: Any) -> Any:
    """Return what was edited, with all that was struck out and left so put back as it was."""
    return _filled_in(message.payload, edited)


def check(message: Message, payload: Any) -> dict[str, list[Any]]:
    """Return what the edited payload changes: by field the old and the new value, without personal data.

    Raises `Misfit` for what does not fit the message's type, touches a fixed field, or changes nothing.
    """
    kind, old = _type_of(message), message.payload
    if not isinstance(payload, dict):
        raise Misfit("the payload must be a JSON object")
    if strange := sorted(set(payload) - _fields(kind) - set(old)):
        raise Misfit(f"{message.type} has no field {', '.join(strange)}")
    changed = sorted(name for name in {*old, *payload} if old.get(name, _ABSENT) != payload.get(name, _ABSENT))
    if fixed := [name for name in changed if name in FIXED]:
        raise Misfit("; ".join(f"{name} cannot be changed: {FIXED[name]}" for name in fixed))
    if REDACTED in _text(payload) and REDACTED not in _text(old):
        raise Misfit(f"{REDACTED} stands for what you may not see: leave it whole, or write the whole value anew")
    try:
        decode(kind, msgspec.json.encode(payload))
    except msgspec.MsgspecError as error:
        raise Misfit(f"it does not fit {message.type}: {error}") from error
    if not changed:
        raise Misfit("nothing was changed: to send it as it is, retry it")
    before, after = redacted(old), redacted(payload)
    return {name: [before.get(name), after.get(name)] for name in changed}


def prepare(*, case: Case, payload: dict[str, Any]) -> Change:
    """Check an edit from all sides, and ask the outside world about its key.

    Outside any transaction, since it may call. Raises `Misfit`, and `NotEditable` when it is not safe now.
    """
    message = message_of(case.message_id)
    difference = check(message, payload)
    change = Change(
        message_id=message.pk,
        payload=payload,
        difference=difference,
        dead_since=dead_since(case, message),
        answered_at=_stuck_since(case),
    )
    return replace(change, outside=ask_outside(change, message=message))


def dead_since(case: Case, message: Message) -> datetime | None:
    """Return since when the message of a case is dead; None when it was answered for good and a step waits for more.

    Raises `NotEditable` when it is on its way, or nobody waits for it any more.
    """
    if case.status != Case.Status.OPEN:
        raise NotEditable(f"the case is closed already: {case.resolution}")
    if case.saga_id is None and message.kind == "command" and message.correlation_id is not None:
        raise NotEditable("the saga that sent this command has gone on without it, and would not hear its answer")
    deliveries = Delivery.objects.filter(ordering_key=message.ordering_key, message_id=message.pk)
    if message.kind == "event":
        deliveries = deliveries.filter(destination=case.destination)
    found: list[datetime | None] = list(deliveries.values_list("dead_at", flat=True))
    if None in found:
        raise NotEditable("it is on its way right now: wait for its outcome")
    if not found and case.saga_id is None:
        raise NotEditable("its delivery is gone: there is nothing to send")
    return found[0] if found else None


def ask_outside(change: Change, *, message: Message) -> dict[str, Any]:
    """Ask the outside world about the key of an edited command; return what it said, as plain values.

    Outside any transaction. Raises `NotEditable` when it has dealt with the key, may yet do so, or does not say.
    """
    if message.kind != "command":
        return {}
    kind = _type_of(message)
    destination, handler = handler_of(kind)
    if destination not in CONSUMERS:
        raise NotEditable(f"{destination} runs elsewhere: what it has done already cannot be asked from here")
    inquiry = inquire(call_of(message, change.command(message)))
    if handler is None or inquiry is None:
        return {}
    gateway = inquiry.gateway
    if inquiry.known is None:
        raise NotEditable(f"whether the {gateway} has acted on it already cannot be told now: {inquiry.away}")
    if inquiry.known.is_done:
        raise NotEditable(
            f"the {gateway} has acted on it already ({inquiry.known.answer}): retry it as it is, and its answer is "
            "looked up by its key"
        )
    if change.dead_since is None and given_up_in_doubt(message.pk) is not None:
        raise NotEditable(
            "its attempts were given up without an answer, and sent anew it would have a new key, under which it might "
            "be done a second time: retry it as it is, and it keeps its key"
        )
    if inquiry.known.has_key and change.dead_since is not None:
        raise NotEditable(
            f"the {gateway} has answered this key already ({inquiry.known.answer}), and refuses another body under it"
        )
    _require_lost(change, gateway)
    return {"gateway": gateway, "key": inquiry.key, "answer": inquiry.text}


def call_of(message: Message, command: Command) -> Call:
    """Return a logged command as a call of the outside world."""
    headers = message.headers
    return Call(
        command=command,
        subject=message.ordering_key,
        saga_id=message.correlation_id,
        step=headers.get("step"),
        direction=headers.get("direction"),
    )


def given_up_in_doubt(message_id: UUID | None) -> Message | None:
    """Return the command with this id if its answer was that nobody knows whether it was carried out."""
    message = Message.objects.filter(pk=message_id).first() if message_id else None
    if message is None:
        return None
    said = Message.objects.filter(ordering_key=message.ordering_key, causation_id=message.pk, kind="event")
    answer = said.order_by("sequence").last()
    return message if answer is not None and answer.payload.get("definite") is False else None


def destination_of(message: Message) -> str:
    """Return who takes a command."""
    return handler_of(_type_of(message))[0]


def edited_before(message_id: UUID | None) -> Command | None:
    """Return the command of a logged message if a person has edited it: then another message of its type caused it."""
    message = Message.objects.filter(pk=message_id).first() if message_id else None
    if message is None or message.causation_id is None:
        return None
    cause = Message.objects.filter(pk=message.causation_id).first()
    if cause is None or cause.type != message.type:
        return None
    command = decode(_type_of(message), msgspec.json.encode(message.payload))
    return command if isinstance(command, Command) else None


def message_of(message_id: UUID | None) -> Message:
    """Return a message of the log. Raises `NotEditable` when it is too old to be there, or was never known."""
    message = Message.objects.filter(pk=message_id).first() if message_id else None
    if message is None:
        raise NotEditable("its message is not in the log, or not any more")
    return message


def _require_lost(change: Change, gateway: str) -> None:
    """Raise `NotEditable` while an earlier call may still arrive at the gateway."""
    since = change.dead_since or change.answered_at
    lost_after = timedelta(seconds=_TIMEOUTS_UNTIL_LOST * settings.GATEWAY_TIMEOUT_SECONDS)
    rest = since + lost_after - database_now() if since else timedelta()
    if rest > timedelta():
        seconds = int(rest.total_seconds()) + 1
        raise NotEditable(f"its last call may still arrive at the {gateway}: edit it in {seconds} s")


def _stuck_since(case: Case) -> datetime | None:
    if case.saga is None:
        return None
    state = case.saga.steps.get(case.step, {})
    if state.get("status") != StepStatus.STUCK:
        raise NotEditable(f"step {case.step} is not stuck: the saga is {case.saga.status}")
    return datetime.fromisoformat(state["ended_at"]) if state.get("ended_at") else None


def _filled_in(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            name: old[name]
            if item == REDACTED and name in PERSONAL and name in old
            else _filled_in(old.get(name), item)
            for name, item in new.items()
        }
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_filled_in(*pair) for pair in zip(old, new, strict=True)]
    return new


def _fields(kind: type[Payload]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _type_of(message: Message) -> type[Payload]:
    try:
        return routing().types[message.type]
    except KeyError:
        raise NotEditable(f"this release does not know {message.type}") from None
