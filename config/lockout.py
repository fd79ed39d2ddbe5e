"""Whoever tries too many wrong passwords waits: counted by name and address together, in the database.

By name alone, anybody could keep an operator out from everywhere; by address alone, one colleague's typing would keep a
whole office out. Names that nobody has are counted like all others, so that an answer tells nothing about them. The
counts are in the database and not in Redis, which may be away when operators are needed most: without the database
there is no desk to get into anyway.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from desk.operators import origin_of
from sagas import operator_log

# Whoever has one address of an IPv6 network of this size has them all.
IPV6_NETWORK = 64


def address_of(request: HttpRequest) -> str | None:
    """Return the address whose failures are counted: behind `TRUSTED_PROXIES` the client's own; None for none.

    Of an IPv6 address it is the network.
    """
    try:
        address = ip_address(origin_of(request))
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, IPV6_NETWORK), strict=False).network_address)


def refuse(request: HttpRequest, _response: HttpResponse, _credentials: dict[str, Any]) -> HttpResponse:
    """Answer whoever is locked out: for how long, and what can be done about it."""
    context = {
        **admin.site.each_context(request),
        "title": "Wait before you sign in again",
        "failures": settings.AXES_FAILURE_LIMIT,
        "minutes": minutes(),
    }
    response = TemplateResponse(request, "admin/locked_out.html", context, status=429)
    response.headers["Retry-After"] = str(int(settings.AXES_COOLOFF_TIME.total_seconds()))
    return response.render()


def minutes() -> int:
    """Return how long a lock-out lasts, in minutes, for people."""
    return round(settings.AXES_COOLOFF_TIME.total_seconds() / 60)


def is_locked(attempt: AccessAttempt) -> bool:
    """Tell whether this name waits at this address because of this browser's failures alone."""
    is_recent = attempt.attempt_time + settings.AXES_COOLOFF_TIME > timezone.now()
    return bool(is_recent and attempt.failures_since_start >= settings.AXES_FAILURE_LIMIT)


def unlock(*, username: str, operator: str, origin: str, reason: str) -> int:
    """Forget the failed sign-ins of a name, from every address. Returns how many there were.

    The operator log keeps it, if there were any. Safe to call twice.
    """
    with transaction.atomic():
        attempts = AccessAttempt.objects.select_for_update().filter(username=username)
        found = list(attempts.order_by("id").values_list("ip_address", "failures_since_start"))
        if not found:
            return 0
        attempts.delete()
        operator_log.write(
            operator=operator,
            origin=origin,
            action="unlock sign-in",
            reason=reason,
            seen={
                "about": f"user {username}",
                "failures": [{"address": address, "failures": failures} for address, failures in found],
            },
            result="done",
        )
    return sum(failures for _, failures in found)
