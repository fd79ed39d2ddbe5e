"""What the API of orders refuses, as exceptions that the project's handler turns into RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException, NotFound

from orders.services import DuplicateOrder, InvalidItems, NotCancellable, NotReturnable, OrderNotFound
from outbox import idempotency
from outbox.consumers import DomainError


class Problem(APIException):
    """A refusal with its own code; `members` and `headers` go out with it."""

    def __init__(
        self,
        *,
        status_code: int,
        code: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail=detail, code=code)
        self.status_code = status_code
        self.headers = headers or {}
        self.members = members


class Conflict(Problem):
    """A refusal for a reason of the business: it is an answer, and is kept as one for the idempotency key."""

    def __init__(self, *, code: str, detail: str, **members: Any) -> None:
        super().__init__(status_code=status.HTTP_409_CONFLICT, code=code, detail=detail, **members)


def problem_of(error: DomainError, *, order_url: str = "") -> APIException:
    """Return what the API says of an anticipated error; `order_url` is the address of its order."""
    match error:
        case InvalidItems():
            return _invalid_items(error)
        case DuplicateOrder():
            return Conflict(
                code="duplicate-order",
                detail=str(error),
                order={"id": str(error.first_order_id), "url": order_url},
            )
        case OrderNotFound():
            return NotFound()
        case NotCancellable():
            can_return = {"returns": f"{order_url}/returns"} if error.can_be_returned else {}
            return Conflict(code="not-cancellable", detail=str(error), order_status=error.status, links=can_return)
        case NotReturnable():
            return Conflict(code="not-returnable", detail=str(error), order_status=error.status)
    return _key_problem(error)


def field_problem(*, paths: Iterable[Sequence[str | int]], code: str, detail: str) -> Problem:
    """Return the same field error for each path into the body."""
    return Problem(
        status_code=status.HTTP_422_UNPROCESSABLE_ENTITY,
        code="validation-failed",
        detail="The body does not hold what it must; `errors` says where.",
        errors=[{"pointer": _pointer(path), "code": code, "detail": detail} for path in paths],
    )


def _pointer(path: Sequence[str | int]) -> str:
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _invalid_items(error: InvalidItems) -> Problem:
    field = (error.field,) if error.field else ()
    paths: list[Sequence[str | int]] = [("items", position, *field) for position in error.positions]
    return field_problem(paths=paths or [("items",)], code=error.code, detail=str(error))


def _key_problem(error: DomainError) -> Problem:
    detail = str(error.__doc__)
    match error:
        case idempotency.KeyMissing():
            return Problem(status_code=400, code="idempotency-key-missing", detail=detail)
        case idempotency.KeyInvalid():
            return Problem(status_code=400, code="idempotency-key-invalid", detail=detail)
        case idempotency.KeyReused():
            return Problem(status_code=422, code="idempotency-key-reused", detail=detail)
        case idempotency.KeyExpired():
            headers = {"Location": error.location}
            return Problem(status_code=409, code="idempotency-key-expired", detail=detail, headers=headers)
        case idempotency.KeyInFlight():
            headers = {"Retry-After": str(idempotency.RETRY_AFTER_SECONDS)}
            return Problem(status_code=409, code="idempotency-key-in-flight", detail=detail, headers=headers)
    raise error
