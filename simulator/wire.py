"""How bank and carrier read a call and refuse it.

Everything a stranger may send is checked here once: whatever arrives, the answer is JSON with a code and a
detail, and nothing that passes can surprise the ledger (names are short and plain, numbers fit 64 bits).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

MAX_BODY_BYTES = 64 * 1024
MAX_WHOLE = 10**15
"""Largest amount or quantity: far above any order, far below the ledger's 64 bits even when summed."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:~-]{1,255}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_COUNTRY = re.compile(r"[A-Z]{2}")


class Refusal(Exception):
    """A call is answered with an error and leaves nothing behind."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


def render(value: Mapping[str, Any]) -> str:
    """Write an object as compact ASCII JSON."""
    return json.dumps(value, separators=(",", ":"))


def respond(*, status: int, body: str, headers: Mapping[str, str] | None = None) -> Response:
    """Build the JSON answer of a call."""
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def respond_refusal(refusal: Refusal) -> Response:
    """Build the answer of a refused call; a retry time is in whole seconds."""
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    body = render({"code": refusal.code, "detail": refusal.detail})
    return respond(status=refusal.status, body=body, headers=headers)


def idempotency_key(request: Request) -> str:
    """Return the caller's key. Raises: Refusal 400 when it is missing or could not be part of a URL."""
    key = request.headers.get("Idempotency-Key", "")
    if not _IDENTIFIER.fullmatch(key):
        raise Refusal(400, "bad_key", "Idempotency-Key must be 1 to 255 of the characters A-Z a-z 0-9 . _ : ~ -")
    return key


async def read_object(request: Request) -> dict[str, Any]:
    """Read the body as one JSON object. Raises: Refusal 400 or 413."""
    raw = bytearray()
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MAX_BODY_BYTES:
                raise Refusal(413, "body_too_large", f"a body has at most {MAX_BODY_BYTES} bytes")
        value = json.loads(raw)
    except ClientDisconnect as exc:
        raise Refusal(400, "incomplete", "the connection was closed before the body was complete") from exc
    except (ValueError, RecursionError) as exc:
        raise Refusal(400, "bad_json", "the body is not valid JSON") from exc
    if not isinstance(value, dict):
        raise Refusal(400, "bad_json", "the body must be a JSON object")
    return value


def _matching(body: Mapping[str, Any], name: str, pattern: re.Pattern[str], wanted: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refusal(400, "bad_field", f"{name} must be {wanted}")
    return value


def identifier(body: Mapping[str, Any], name: str) -> str:
    """Return a field that names something. Raises: Refusal 400."""
    return _matching(body, name, _IDENTIFIER, "1 to 255 of the characters A-Z a-z 0-9 . _ : ~ -")


def currency(body: Mapping[str, Any]) -> str:
    """Return the currency code. Raises: Refusal 400."""
    return _matching(body, "currency", _CURRENCY, "three capital letters")


def country(body: Mapping[str, Any]) -> str:
    """Return the country code. Raises: Refusal 400."""
    return _matching(body, "country", _COUNTRY, "two capital letters")


def text(body: Mapping[str, Any], name: str) -> str:
    """Return a field of free text. Raises: Refusal 400."""
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        raise Refusal(400, "bad_field", f"{name} must be a text of 1 to 255 characters")
    return value


def whole(body: Mapping[str, Any], name: str) -> int:
    """Return a positive whole number; money is in minor units. Raises: Refusal 400."""
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_WHOLE:
        raise Refusal(400, "bad_field", f"{name} must be a whole number from 1 to {MAX_WHOLE}")
    return value
