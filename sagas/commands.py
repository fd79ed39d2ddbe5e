"""What the commands that act on one saga have in common."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import authenticate
from django.http import HttpRequest

from outbox.commands import id_of, operator_name
from sagas import four_eyes
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Approval, SagaInstance
from sagas.selectors import UnknownSaga


class NotRecognized(Refused):
    """Whoever uses another name than the machine's account has to prove that it is his."""


REFUSALS = (Refused, UnknownDefinition, UnknownSaga)


def add_saga(parser: ArgumentParser) -> None:
    """Declare the argument that names a saga."""
    parser.add_argument("any_id", type=id_of, metavar="ID", help="of the saga, or of its order")


def add_operator(parser: ArgumentParser) -> None:
    """Declare the option that says which person of the desk acts."""
    parser.add_argument(
        "--operator",
        metavar="NAME",
        help="act as this person of the desk; the password is asked for, or read from standard input",
    )


def acting(name: str | None, *, permission: str) -> str:
    """Return the name for the operator log: the machine's account, or a person who has proved to be one.

    Several people may share an account, and who may use it may do all that its commands do; a person may do what the
    desk lets him do. Raises `NotRecognized`.
    """
    if name is None:
        return operator_name()
    prompt = f"Password of {name}: "
    password = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    user = authenticate(_from_this_machine(), username=name, password=password)
    if user is None or not user.is_staff:
        raise NotRecognized(
            f"the desk knows no {name!r} with this password, or lets nobody in here after too many wrong ones"
        )
    if not user.has_perm(permission):
        raise NotRecognized(f"{name} may not do this: it takes the permission {permission}")
    return user.get_username()


def _from_this_machine() -> HttpRequest:
    """Return what wrong passwords are counted by: a name and an address, of which this machine has one too."""
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = "127.0.0.1"
    return request


def add_reason(parser: ArgumentParser, *, is_required: bool = True) -> None:
    """Declare the option that says why."""
    parser.add_argument(
        "--reason", required=is_required, default="", metavar="R", help="why; the operator log keeps it"
    )


def outcome(*, saga: SagaInstance, action: str, result: str) -> tuple[dict[str, Any], str]:
    """Return what came of an action, for scripts and for people."""
    value = {"action": action, "result": result, "saga_id": saga.pk, "order_id": saga.key, "saga": saga.name}
    text = f"{action} {result}: {saga.name} of order {saga.key}"
    if result == four_eyes.AWAITS_APPROVAL:
        approval = saga.approvals.get(status=Approval.Status.REQUESTED)
        value["approval"] = approval.pk
        text += f"; another person carries it out with: saga_approve {approval.pk} --operator NAME"
    return value, text
