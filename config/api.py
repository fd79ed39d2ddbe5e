"""The edge of the HTTP API: what every view shares, whichever context it lives in.

Errors are RFC 9457 problems with a stable `type` and `code`. A view raises an `APIException`; it may carry
`members` (further members of the problem) and `headers`. Field errors are listed under `errors`, each with a
JSON pointer into the body. Nothing of what the client sent is repeated, for it might be a card number.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec
import redis
import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as InvalidValue
from django.db import DataError, InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from prometheus_client import Counter
from psycopg.errors import ReadOnlySqlTransaction
from rest_framework import exceptions, status
from rest_framework.authentication import TokenAuthentication
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle

from orders.api.card_numbers import holds_issued_number

if TYPE_CHECKING:
    # At run time this module is imported while that one is: the settings name it.
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
_JSON = (PROBLEM_JSON, "application/json")
# A database that restarts is back within seconds; a client that returns at once only adds to its load.
RETRY_AFTER_SECONDS = 2
# So much of a body that is too large is read and thrown away: a client that is cut off while it still sends may
# never read why.
DISCARD_BYTES = 1024 * 1024
# Deeper JSON than this is an attack on the recursion of whoever walks it.
MAX_DEPTH = 32
# After a failure of the cache requests pass uncounted for this long, so that a dead one does not slow each of
# them.
THROTTLE_SILENCE_SECONDS = 1.0
API_PREFIXES = ("/api/", "/webhooks/")
_SIZE = re.compile(r"0{0,9}[1-9][0-9]{0,8}")

THROTTLE_FAILURES = Counter("api_throttle_failures_total", "Requests let pass because they could not be counted")

_CODES = {
    "authentication_failed": "not-authenticated",
    "parse_error": "invalid-body",
    "error": "internal-error",
}
# Said instead of what the framework says, which would repeat what the client sent.
_DETAILS = {
    "unsupported_media_type": "Send the body as application/json.",
    "method_not_allowed": "This address does not know that method.",
}
_CODES_OF_STATUS = {
    400: "bad-request",
    403: "permission-denied",
    404: "not-found",
    405: "method-not-allowed",
    411: "length-required",
    413: "body-too-large",
    429: "throttled",
    500: "internal-error",
    503: "service-unavailable",
}


def problem(*, status_code: int, code: str, detail: str, **members: Any) -> dict[str, Any]:
    """Return a problem document; its title is its code in words."""
    return {
        "type": f"/problems/{code}",
        "code": code,
        "title": code.replace("-", " ").capitalize(),
        "status": status_code,
        "detail": detail,
        **members,
    }


def problem_handler(exception: Exception, context: Mapping[str, Any]) -> Response | None:  # noqa: ARG001
    """Answer an exception of a view with a problem. None, for what is a bug, lets it become a 500."""
    if isinstance(exception, Http404):
        exception = exceptions.NotFound()
    elif isinstance(exception, PermissionDenied):
        exception = exceptions.PermissionDenied()
    elif is_database_away(exception):
        _log_database_away(exception)
        return _answer(_database_away(), {"Retry-After": str(RETRY_AFTER_SECONDS)})
    if not isinstance(exception, exceptions.APIException):
        return None
    headers = dict(getattr(exception, "headers", {}))
    if challenge := getattr(exception, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exception, "wait", None):
        headers["Retry-After"] = str(int(wait))
    if isinstance(exception, exceptions.ValidationError):
        return _answer(
            problem(
                status_code=status.HTTP_422_UNPROCESSABLE_ENTITY,
                code="validation-failed",
                detail="The body does not hold what it must; `errors` says where.",
                errors=list(_field_errors(exception.detail, "")),
            ),
            headers,
        )
    name = str(exception.get_codes())
    document = problem(
        status_code=exception.status_code,
        code=_CODES.get(name, name.replace("_", "-")),
        detail=_DETAILS.get(name, str(exception.detail)),
        **getattr(exception, "members", {}),
    )
    return _answer(document, headers)


def is_database_away(exception: BaseException) -> bool:
    """Tell whether the database cannot be reached, has no room, or is a standby that only reads."""
    if isinstance(exception, OperationalError | InterfaceError):
        return True
    return isinstance(exception, InternalError) and isinstance(exception.__cause__, ReadOnlySqlTransaction)


class ProblemMiddleware:
    """Guard the door of the API, and see that whatever leaves it in error is a problem.

    Bodies are limited and addresses are throttled before anyone reads a token. A database that is away is a
    503 with Retry-After on every page.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(API_PREFIXES):
            return self._get_response(request)
        response = self._refuse(request) or self._get_response(request)
        if response.status_code >= 400 and _is_bare(response):
            response = _bare_problem(response.status_code)
        if response.headers.get("Content-Type", "").startswith(_JSON):
            # What customers order is kept by no cache.
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:  # noqa: ARG002
        """Answer 503 where no view of the API did so already."""
        if not is_database_away(exception):
            return None
        _log_database_away(exception)
        return _respond(_database_away(), {"Retry-After": str(RETRY_AFTER_SECONDS)})

    def _refuse(self, request: HttpRequest) -> HttpResponse | None:
        length = request.META.get("CONTENT_LENGTH") or ""
        if "HTTP_TRANSFER_ENCODING" in request.META and not length:
            return _bare_problem(411, "Send the body with a Content-Length.")
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if length.isdecimal() and int(length) > limit:
            _discard(request, min(int(length), DISCARD_BYTES))
            return _bare_problem(413, f"A body has at most {limit} bytes.")
        throttle = AddressThrottle()
        if not throttle.allow_request(request, None):
            response = _bare_problem(429, "Too many requests from this address.")
            response["Retry-After"] = str(throttle.wait())
            return response
        # Addresses are logged and keys are kept: a card number in one goes no further than here.
        key = request.headers.get("Idempotency-Key", "")
        if any(map(holds_issued_number, (request.path, unquote_plus(request.META["QUERY_STRING"]), key))):
            return _respond(_card_number(), {})
        return None


class WindowThrottle(SimpleRateThrottle):
    """Count requests in windows of the rate's own length, in one round trip to Redis.

    Fails open: when Redis is away or slow the request passes, and that is counted.
    """

    num_requests: int | None
    duration: int | None
    _silent_until = 0.0

    def allow_request(self, request: Request | HttpRequest, view: APIView | None) -> bool:
        """Tell whether the request is within the rate."""
        name = self.get_cache_key(request, view)  # type: ignore[arg-type]
        if name is None or self.num_requests is None or self.duration is None:
            return True
        if time.monotonic() < WindowThrottle._silent_until:
            THROTTLE_FAILURES.inc()
            return True
        now = time.time()
        self._wait = self.duration - now % self.duration
        try:
            return self._count(f"{name}:{int(now // self.duration)}") <= self.num_requests
        except (redis.RedisError, OSError, ValueError) as error:
            # ValueError: a socket that timed out on another thread is closed under the reader's feet.
            WindowThrottle._silent_until = time.monotonic() + THROTTLE_SILENCE_SECONDS
            THROTTLE_FAILURES.inc()
            log.warning("api.throttle.passed", error=type(error).__name__)
            return True

    def wait(self) -> int:
        """Return the seconds until the next window begins."""
        return int(self._wait) + 1

    def _count(self, key: str) -> int:
        with _redis().pipeline(transaction=False) as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, 2 * int(self.duration or 1))
            count, _ = pipeline.execute()
        return int(count)


class CustomerThrottle(WindowThrottle):
    """Limit what one customer sends, whichever addresses it comes from."""

    scope = "customer"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:  # noqa: ARG002
        """Return the customer's counter; none for a request without one."""
        return f"saga-bridge:throttle:customer:{request.user.pk}" if request.user else None


class AddressThrottle(WindowThrottle):
    """Limit what one address sends, before its token is looked at."""

    scope = "address"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:  # noqa: ARG002
        """Return the address's counter."""
        return f"saga-bridge:throttle:address:{self.get_ident(request)}"


class Tokens(TokenAuthentication):
    """Know customers by their tokens."""

    def authenticate_credentials(self, key: str) -> Any:
        """Return customer and token. Raises `AuthenticationFailed`, also for what the database cannot look up."""
        if "\x00" in key:
            raise exceptions.AuthenticationFailed
        return super().authenticate_credentials(key)


class JSONBody(BaseParser):
    """Read JSON that is UTF-8 and not deeper than anyone needs."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:  # noqa: ARG002
        """Return the value. Raises `ParseError`."""
        try:
            value = msgspec.json.decode(stream.read())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise exceptions.ParseError("The body is not JSON in UTF-8.") from exc
        if _is_deeper(value, MAX_DEPTH):
            raise exceptions.ParseError(f"The body is nested more than {MAX_DEPTH} levels deep.")
        return value


class CursorPages(CursorPagination):
    """Pages that stay right while rows are added: each begins where the one before it ended."""

    ordering = "-id"
    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100

    def get_page_size(self, request: Request) -> int:
        """Return how many go on a page, at most `max_page_size`. Raises `ValidationError`."""
        asked = request.query_params.get(self.page_size_query_param, str(self.page_size))
        if not _SIZE.fullmatch(asked):
            raise exceptions.ValidationError({"page_size": ["This is not a whole number of at least 1."]})
        return min(int(asked), self.max_page_size)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe what a page can be asked for."""
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"]["minimum"] = 1
        return parameters

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> Any:
        """Return one page. Raises `ValidationError` for a cursor that is none of ours."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (exceptions.NotFound, InvalidValue, ValueError, DataError) as exc:
            raise exceptions.ValidationError({"cursor": ["This cursor did not come from a page."]}) from exc


@cache
def _redis() -> redis.Redis:
    """Return the client of this process; a slow Redis must not hold a request up."""
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=0.25, client_name="throttles"
    )


def _discard(request: HttpRequest, number: int) -> None:
    while number > 0 and (data := request.read(min(number, 65_536))):
        number -= len(data)


def _answer(document: dict[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(document, status=document["status"], headers=dict(headers), content_type=PROBLEM_JSON)


def _respond(document: dict[str, Any], headers: Mapping[str, str]) -> HttpResponse:
    body = msgspec.json.encode(document)
    return HttpResponse(body, status=document["status"], headers=dict(headers), content_type=PROBLEM_JSON)


def _bare_problem(status_code: int, detail: str = "") -> HttpResponse:
    code = _CODES_OF_STATUS.get(status_code, "error")
    return _respond(problem(status_code=status_code, code=code, detail=detail or _detail(code)), {})


def _detail(code: str) -> str:
    return f"{code.replace('-', ' ').capitalize()}."


def _card_number() -> dict[str, Any]:
    detail = "Card numbers are not accepted here: neither in an address nor in a header."
    return problem(
        status_code=status.HTTP_422_UNPROCESSABLE_ENTITY,
        code="validation-failed",
        detail=detail,
        errors=[{"pointer": "#", "code": "card_number", "detail": detail}],
    )


def _log_database_away(exception: BaseException) -> None:
    log.warning("api.database.away", error=type(exception.__cause__ or exception).__name__)


def _database_away() -> dict[str, Any]:
    return problem(
        status_code=status.HTTP_503_SERVICE_UNAVAILABLE,
        code="service-unavailable",
        detail="The database cannot be reached. Whether this took effect is not known: repeat it.",
    )


def _is_bare(response: HttpResponseBase) -> bool:
    return not response.headers.get("Content-Type", "").startswith(_JSON)


def _field_errors(detail: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Flatten the nested errors of a serializer; a list says nothing of its faultless items."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            step = "" if name == "non_field_errors" else f"/{str(name).replace('~', '~0').replace('/', '~1')}"
            yield from _field_errors(inner, pointer + step)
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for position, inner in enumerate(detail):
            yield from _field_errors(inner, f"{pointer}/{position}" if isinstance(inner, Mapping) else pointer)
    else:
        yield {
            "pointer": f"#{pointer}",
            "code": str(getattr(detail, "code", "invalid")),
            "detail": str(detail),
        }


def _is_deeper(value: Any, depth: int) -> bool:
    level: list[Any] = [[value]]
    for _ in range(depth + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
