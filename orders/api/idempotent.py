"""The idempotency layer as a view uses it: after throttles and authentication, before all else."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpResponse
from rest_framework.exceptions import NotAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders.api.card_numbers import card_number_paths
from orders.api.problems import Conflict, field_problem, problem_of
from outbox.consumers import DomainError
from outbox.idempotency import Answer, KeyedRequest, answer_once, fingerprint, parse_key

HEADER = "Idempotency-Key"


def customer_of(*, request: Request) -> int:
    """Return the id of the customer whose token came with the request."""
    if request.user.pk is None:
        raise NotAuthenticated
    return request.user.pk


def keyed_request(*, request: Request, endpoint: str) -> KeyedRequest:
    """Return the request as the idempotency layer sees it. Raises an `APIException` for a wrong key or body.

    The path is part of what a key stands for, so one key cannot cancel two orders.
    """
    try:
        key = parse_key(header=request.headers.get(HEADER))
    except DomainError as error:
        raise problem_of(error) from error
    body = request.data
    if paths := card_number_paths(body=body):
        raise field_problem(paths=paths, code="card_number", detail="Card numbers are not accepted here.")
    return KeyedRequest(
        customer_id=customer_of(request=request),
        endpoint=f"{request.method} {endpoint}",
        key=key,
        fingerprint=fingerprint(path=request.path, body=body),
    )


def answer_request(*, view: APIView, request: KeyedRequest, operation: Callable[[], Answer]) -> Answer:
    """Run the operation once for this key. A `Conflict` that it raises is its answer, and is kept."""

    def answer() -> Answer:
        try:
            return operation()
        except Conflict as conflict:
            return _rendered(view.handle_exception(conflict))

    try:
        return answer_once(request=request, operation=answer)
    except DomainError as error:
        raise problem_of(error) from error


def rendered(*, status: int, data: object, location: str = "") -> Answer:
    """Return an answer with its body in JSON."""
    return Answer(status=status, body=JSONRenderer().render(data), location=location)


def response_of(*, answer: Answer) -> HttpResponse:
    """Return the answer as it goes over the wire, byte for byte what was kept."""
    response = HttpResponse(answer.body, status=answer.status, content_type=answer.content_type)
    if answer.location:
        response["Location"] = answer.location
    if answer.is_replayed:
        response["Idempotency-Replayed"] = "true"
    return response


def _rendered(response: Response) -> Answer:
    content_type = response.content_type or "application/json"
    return Answer(status=response.status_code, body=JSONRenderer().render(response.data), content_type=content_type)
