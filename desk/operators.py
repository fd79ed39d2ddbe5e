"""Who sits at the desk: the name and the address that the operator log keeps."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.throttling import BaseThrottle


def operator_of(request: HttpRequest) -> str:
    """Return the name of the person who sent the request."""
    return request.user.get_username()


def origin_of(request: HttpRequest) -> str:
    """Return the address that the request came from, as the API's limits take it: behind `TRUSTED_PROXIES`."""
    return str(BaseThrottle().get_ident(request) or "")  # type: ignore[arg-type]
