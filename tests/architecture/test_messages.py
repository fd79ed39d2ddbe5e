"""Every message has its place: a name of its own, a route, and a handler at the end of it."""

import re
from collections import Counter
from datetime import timedelta
from types import ModuleType

import pytest
from django.conf import settings

from config.routing import COMMANDS, EVENTS, ROUTING
from outbox.consumers import CONSUMERS, Effectful
from outbox.contracts import Command, Event, FailureEvent, Message, MessageDeadLettered
from sagas.definition import definitions
from tests.architecture.rooms import CONTEXTS, CONTRACTS

KNOWN = tuple(ROUTING.types.values())
ROUTES = [(wire_type, destination) for wire_type, names in ROUTING.destinations.items() for destination in names]
BASES = {Message, Event, FailureEvent, Command}


def messages_of(contracts: ModuleType) -> set[type[Message]]:
    found = (value for value in vars(contracts).values() if isinstance(value, type) and issubclass(value, Message))
    return {value for value in found if value.__module__ == contracts.__name__} - BASES


@pytest.mark.parametrize("contracts", CONTRACTS, ids=lambda module: module.__name__)
def test_every_message_of_a_context_is_listed_and_known(contracts: ModuleType) -> None:
    listed = getattr(contracts, "MESSAGES", (MessageDeadLettered,))

    assert set(listed) == messages_of(contracts)
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(KNOWN)


def test_no_two_messages_share_a_name() -> None:
    names = Counter(message.wire_type for contracts in CONTRACTS for message in messages_of(contracts))

    assert {name: times for name, times in names.items() if times > 1} == {}


@pytest.mark.parametrize("message", KNOWN, ids=lambda message: message.__name__)
def test_a_message_is_named_after_its_subject(message: type[Message]) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", message.wire_type)
    assert message.kind in ("command", "event")
    assert message.version >= 1


def test_every_command_has_exactly_one_owner() -> None:
    commands = [message for message in KNOWN if message.kind == "command"]

    assert {command: ROUTING.destinations[command.wire_type] for command in commands} == {
        command: (owner,) for owner, owned in COMMANDS.items() for command in owned
    }


@pytest.mark.parametrize("command", [m for m in KNOWN if issubclass(m, Command)], ids=lambda m: m.__name__)
def test_the_answers_to_a_command_are_known(command: type[Command]) -> None:
    assert command.success in KNOWN
    assert command.failure is None or command.failure in KNOWN


@pytest.mark.parametrize(("wire_type", "destination"), ROUTES)
def test_a_route_ends_at_a_handler(wire_type: str, destination: str) -> None:
    assert ROUTING.types[wire_type] in CONSUMERS[destination].handlers


def test_a_handler_stands_at_the_end_of_a_route() -> None:
    handled = {(message.wire_type, consumer.name) for consumer in CONSUMERS for message in consumer.handlers}

    assert handled == set(ROUTES)


def test_every_event_has_somebody_who_listens_or_answers_a_command() -> None:
    answers = {c.success for c in KNOWN if issubclass(c, Command)} | {
        c.failure for c in KNOWN if issubclass(c, Command)
    }
    silent = {m.__name__ for m in KNOWN if m.kind == "event" and not ROUTING.destinations[m.wire_type]}

    assert silent <= {answer.__name__ for answer in answers if answer is not None}


def test_consumers_are_contexts_and_the_engine() -> None:
    assert {consumer.name for consumer in CONSUMERS} == CONTEXTS | {"sagas"}
    assert {name for names in EVENTS.values() for name in names} <= CONTEXTS | {"sagas"}


WAITS = [
    pytest.param(command, limit, id=f"{definition.name}/{command.__name__}")
    for definition in definitions().values()
    for step in definition.by_name.values()
    for command, limit in ((step.action, step.deadline), (step.compensation, step.compensation_deadline))
    if command is not None
]


@pytest.mark.parametrize(("command", "limit"), WAITS)
def test_the_retries_of_a_step_fit_into_its_deadline(command: type[Command], limit: timedelta) -> None:
    (owner,) = ROUTING.destinations[command.wire_type]
    policy = CONSUMERS[owner].handlers[command].policy
    rests = [min(policy.cap, policy.base * 2**n) for n in range(policy.attempts - 1)]
    # A call may be a look-up and an attempt, and each may run into its time-out.
    calls = timedelta(seconds=2 * settings.GATEWAY_TIMEOUT_SECONDS) * policy.attempts

    assert sum(rests, calls) < limit


def test_nobody_gives_up_on_a_compensation() -> None:
    """What cannot be undone is for a person to settle: a handler must not turn it into an answer."""
    compensations = {s.compensation for d in definitions().values() for s in d.by_name.values() if s.compensation}
    handlers = [(c.name, m, c.handlers[m]) for c in CONSUMERS for m in compensations if m in c.handlers]

    assert len(handlers) == len(compensations)
    assert [name for name, _, handler in handlers if isinstance(handler, Effectful) and handler.give_up] == []
    assert all(compensation.failure is None for compensation in compensations)
