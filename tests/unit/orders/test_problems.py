"""What views raise becomes a problem with a stable code, and repeats nothing that was sent."""

from io import BytesIO
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404
from psycopg.errors import ReadOnlySqlTransaction
from rest_framework import exceptions

from config.api import MAX_DEPTH, JSONBody, problem_handler


def answered(exception: Exception) -> Any:
    """Return what the handler answers."""
    return problem_handler(exception, {})


@pytest.mark.parametrize(
    ("exception", "status", "code"),
    [
        (exceptions.NotAuthenticated(), 401, "not-authenticated"),
        (exceptions.AuthenticationFailed(), 401, "not-authenticated"),
        (exceptions.PermissionDenied(), 403, "permission-denied"),
        (PermissionDenied(), 403, "permission-denied"),
        (exceptions.NotFound(), 404, "not-found"),
        (Http404(), 404, "not-found"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method-not-allowed"),
        (exceptions.NotAcceptable(), 406, "not-acceptable"),
        (exceptions.UnsupportedMediaType("text/plain"), 415, "unsupported-media-type"),
        (exceptions.ParseError(), 400, "invalid-body"),
        (exceptions.Throttled(wait=3), 429, "throttled"),
        (OperationalError(), 503, "service-unavailable"),
        (InterfaceError(), 503, "service-unavailable"),
    ],
)
def test_every_refusal_has_its_code(exception: Exception, status: int, code: str) -> None:
    response = answered(exception)

    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert response.data["type"] == f"/problems/{code}"
    assert response.data["code"] == code
    assert response.data["status"] == status


def test_a_refusal_says_when_to_come_back() -> None:
    assert answered(exceptions.Throttled(wait=3))["Retry-After"] == "3"
    assert answered(OperationalError())["Retry-After"] == "2"


def test_a_standby_that_only_reads_is_a_database_away() -> None:
    error = InternalError()
    error.__cause__ = ReadOnlySqlTransaction()

    assert answered(error).status_code == 503
    assert answered(InternalError()) is None


def test_a_bug_is_not_answered() -> None:
    assert answered(KeyError("x")) is None


def test_field_errors_point_into_the_body() -> None:
    detail: Any = {"items": {1: {"sku": ["Unknown."]}}, "a/b~c": ["Bad."], "non_field_errors": ["Wrong."]}
    error = exceptions.ValidationError(detail, code="bad")

    assert answered(error).data["errors"] == [
        {"pointer": "#/items/1/sku", "code": "bad", "detail": "Unknown."},
        {"pointer": "#/a~1b~0c", "code": "bad", "detail": "Bad."},
        {"pointer": "#", "code": "bad", "detail": "Wrong."},
    ]


def test_errors_of_a_list_point_to_its_items() -> None:
    error = exceptions.ValidationError({"items": [{}, {"sku": ["Unknown."]}]}, code="bad")

    assert answered(error).data["errors"] == [{"pointer": "#/items/1/sku", "code": "bad", "detail": "Unknown."}]


def test_nothing_that_was_sent_is_repeated() -> None:
    response = answered(exceptions.UnsupportedMediaType("4242424242424242"))

    assert "4242" not in str(response.data)


def parsed(body: bytes) -> object:
    """Return what the parser makes of a body."""
    return JSONBody().parse(BytesIO(body))


def test_json_is_read() -> None:
    assert parsed(b'{"a": [1, "\xc3\xa9", null]}') == {"a": [1, "é", None]}


def test_json_of_the_greatest_depth_is_read() -> None:
    assert parsed(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"NaN",
        b'"\xff"',
        b'"\\ud800"',
        b"1" * 5_000,
        b"1e400",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" * 30_000 + b"]" * 30_000,
    ],
)
def test_what_is_not_json_or_too_deep_is_refused(body: bytes) -> None:
    with pytest.raises(exceptions.ParseError):
        parsed(body)
