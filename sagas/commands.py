"""What the commands that act on one saga have in common."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from outbox.commands import id_of
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import SagaInstance
from sagas.selectors import UnknownSaga

REFUSALS = (Refused, UnknownDefinition, UnknownSaga)


def add_saga(parser: ArgumentParser) -> None:
    """Declare the argument that names a saga."""
    parser.add_argument("any_id", type=id_of, metavar="ID", help="of the saga, or of its order")


def add_reason(parser: ArgumentParser, *, is_required: bool = True) -> None:
    """Declare the option that says why."""
    parser.add_argument(
        "--reason", required=is_required, default="", metavar="R", help="why; the operator log keeps it"
    )


def outcome(*, saga: SagaInstance, action: str, result: str) -> tuple[dict[str, Any], str]:
    """Return what came of an action, for scripts and for people."""
    value = {"action": action, "result": result, "saga_id": saga.pk, "order_id": saga.key, "saga": saga.name}
    return value, f"{action} {result}: {saga.name} of order {saga.key}"
