"""The commands for sagas: what they print, what they change, how they end."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest
from uuid_utils.compat import uuid7

from outbox.contracts import COMPENSATION
from outbox.models import Message
from sagas.models import Case, OperatorAction, SagaInstance
from tests.command_line import run
from tests.factories.cases import REFUSAL, completed_saga, is_dead, refused_refund, running_saga

pytestmark = pytest.mark.django_db

ACTIONS = {
    "saga_retry": (),
    "saga_skip": ("--reason", "r"),
    "saga_compensate": ("--reason", "r"),
    "saga_resolve": ("--reason", "r", "--reference", "x"),
}
OPERATOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def state() -> list[object]:
    return [
        list(SagaInstance.objects.values_list("pk", "status", "reason", "steps")),
        list(Case.objects.values_list("pk", "status", "resolution")),
        OperatorAction.objects.count(),
        Message.objects.count(),
    ]


def test_the_list_has_one_line_per_saga_newest_first() -> None:
    first, second = running_saga(), running_saga()

    ended = run("saga_list")

    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[0].split() == ["order", "saga", "status", "reason", "started", "ended"]
    assert [line.split()[0] for line in lines[1:]] == [str(second.key), str(first.key)]
    assert lines[2].split()[1:4] == ["order-fulfilment", "RUNNING", "-"]


def test_the_list_is_of_one_status_and_of_so_many() -> None:
    stuck = refused_refund()
    running = [running_saga().pk, running_saga().pk]

    suspended = run("saga_list", "--status", "suspended", "--json")
    limited = run("saga_list", "--status", "RUNNING", "--limit", 1, "--json")
    none = run("saga_list", "--status", "ABANDONED")

    assert [saga["id"] for saga in suspended.json] == [str(stuck.saga_id)]
    assert [saga["id"] for saga in limited.json] == [str(running[1])]
    assert (none.code, none.out, none.err) == (0, "No sagas.\n", "")


@pytest.mark.parametrize("name_it_by", ["order", "saga"])
def test_an_order_is_shown_with_its_whole_story(name_it_by: str) -> None:
    case = refused_refund()
    assert case.saga is not None
    named = case.key if name_it_by == "order" else case.saga.pk

    ended = run("saga_show", named)

    blocks = ended.out.split("\n\n")
    assert blocks[0] == f"Order {case.key}"
    assert blocks[1].splitlines()[0] == f"order-fulfilment {case.saga.pk}: SUSPENDED, shipping_refused"
    assert [line.split()[:3] for line in blocks[1].splitlines()[2:]] == [
        ["reserve-inventory", "SUCCEEDED", "action"],
        ["charge-payment", "STUCK", "compensation"],
        ["create-shipment", "FAILED", "action"],
        ["confirm-order", "PENDING", "action"],
    ]
    assert blocks[2].splitlines()[0] == "Timeline"
    assert f"attempt 5: RefundRefused: {REFUSAL}" in blocks[2]
    assert (ended.code, ended.err) == (0, "")


def test_the_story_as_json_is_the_timeline() -> None:
    case = refused_refund()

    story = run("saga_show", case.key, "--json").json

    assert story["order_id"] == str(case.key)
    assert [saga["status"] for saga in story["sagas"]] == ["SUSPENDED"]
    commands = [entry["what"] for entry in story["entries"] if entry["kind"] == "command"]
    assert commands == ["inventory.reserve", "payment.charge", "shipment.create", "payment.refund"]


def test_retry_sends_the_dead_command_again() -> None:
    case = refused_refund()

    ended = run("saga_retry", case.key)

    case.refresh_from_db()
    assert ended.out == f"retry requested: order-fulfilment of order {case.key}\n"
    assert (ended.code, case.status, case.resolution) == (0, "CLOSED", "retried")
    assert is_dead(case) == [False]
    assert OperatorAction.objects.get().operator == OPERATOR


def test_skip_goes_on_without_the_step() -> None:
    case = refused_refund()

    ended = run("saga_skip", case.saga_id, "--reason", "written off", "--json")

    last = Message.objects.filter(ordering_key=case.key).latest()
    assert ended.json == {
        "action": "skip",
        "result": "requested",
        "saga_id": str(case.saga_id),
        "order_id": str(case.key),
        "saga": "order-fulfilment",
    }
    assert (last.type, last.headers["direction"]) == ("inventory.release", COMPENSATION)
    assert is_dead(case) == []
    assert OperatorAction.objects.get().reason == "written off"


def test_resolve_keeps_the_reference() -> None:
    case = refused_refund()

    ended = run("saga_resolve", case.key, "--reason", "by transfer", "--reference", "SEPA-1")

    case.refresh_from_db()
    assert ended.out == f"resolve requested: order-fulfilment of order {case.key}\n"
    assert (case.resolution, case.reason, case.reference) == ("resolved", "by transfer", "SEPA-1")


def test_compensate_turns_a_running_saga_back() -> None:
    saga = running_saga()

    ended = run("saga_compensate", saga.key, "--reason", "customer called")

    saga.refresh_from_db()
    assert ended.out == f"compensate requested: order-fulfilment of order {saga.key}\n"
    assert (saga.status, saga.reason) == ("COMPENSATING", "cancelled_by_operator")


@pytest.mark.parametrize(("command", "options"), ACTIONS.items())
def test_an_action_that_does_not_fit_is_refused_and_changes_nothing(command: str, options: tuple[str, ...]) -> None:
    saga = completed_saga()
    before = state()

    ended = run(command, saga.key, *options)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"{command}: the saga has ended: COMPLETED\n"
    assert state() == before


@pytest.mark.parametrize(("command", "options"), [("saga_show", ()), *ACTIONS.items()])
def test_an_unknown_id_is_bad_input(command: str, options: tuple[str, ...]) -> None:
    unknown = uuid7()

    ended = run(command, unknown, *options)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"{command}: no saga and no order has the id {unknown}\n"


@pytest.mark.parametrize("command", ["saga_show", *ACTIONS])
def test_what_is_no_id_is_bad_input(command: str) -> None:
    ended = run(command, "42", *ACTIONS.get(command, ()))

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"{command}: argument ID: '42' is not an id; it must be a UUID\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["saga_list", "--status", "LOST"], "argument --status: invalid choice: 'LOST'"),
        (["saga_list", "--limit", "-1"], "argument --limit: '-1' is not a count; it must be 0 or more"),
        (["saga_show"], "the following arguments are required: ID"),
        (["saga_skip", uuid7()], "the following arguments are required: --reason"),
        (["saga_compensate", uuid7()], "the following arguments are required: --reason"),
        (["saga_resolve", uuid7(), "--reason", "r"], "the following arguments are required: --reference"),
        (["saga_graph"], "the following arguments are required: NAME"),
        (["saga_graph", "x"], "no saga is named 'x'; there are: order-fulfilment, order-return"),
        (["saga_retry", uuid7(), "--hard"], "unrecognized arguments: --hard"),
    ],
)
def test_bad_input_is_one_line(arguments: list[object], complaint: str) -> None:
    ended = run(*arguments)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"{arguments[0]}: {complaint}")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["saga_skip", "--reason", " "], "give a reason: the next person will read it"),
        (["saga_resolve", "--reason", " ", "--reference", "x"], "give a reason: the next person will read it"),
        (["saga_resolve", "--reason", "r", "--reference", " "], "say under which reference it was done by hand"),
    ],
)
def test_an_empty_reason_is_none_and_changes_nothing(arguments: list[str], complaint: str) -> None:
    case = refused_refund()
    before = state()

    ended = run(arguments[0], case.key, *arguments[1:])

    assert (ended.code, ended.err) == (2, f"{arguments[0]}: {complaint}\n")
    assert state() == before


def test_the_shell_sees_the_same() -> None:
    command = [sys.executable, "manage.py", "saga_retry", "42"]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "saga_retry: argument ID: '42' is not an id; it must be a UUID\n"
