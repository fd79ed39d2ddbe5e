"""Nobody passes to a page of the desk on a password alone who has one-time codes, or has to have them.

A gate before all addresses of the desk, so that no page can forget it. A session says that a code was given, and for
which device; once that device is gone, the session's word for it is gone too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse

from config.headers import DESK
from config.second_factor import devices

# What can be reached on a password alone: the ways in and out.
OPEN = ("admin:login", "admin:logout", "second-factor", "second-factor-setup")


class SecondFactorMiddleware:
    """Send whoever owes a code to the page that asks for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if settings.DESK_OTP == "off" or not request.path_info.startswith(DESK):
            return self._get_response(request)
        if request.path_info in map(reverse, OPEN) or not request.user.is_authenticated:
            return self._get_response(request)
        if page := owed(request):
            return HttpResponseRedirect(reverse(page, query={"next": request.get_full_path()}))
        return self._get_response(request)


def owed(request: HttpRequest) -> str:
    """Return the name of the page that a person who gave the password has to pass first; empty for none."""
    user: Any = request.user
    if settings.DESK_OTP == "off" or user.is_verified():
        return ""
    if devices.has_codes(user):
        return "second-factor"
    return "second-factor-setup" if settings.DESK_OTP == "required" else ""


@register(Tags.security, deploy=True)
def check_required(**_: Any) -> list[CheckMessage]:
    """Warn of a desk in production that opens on a password alone."""
    if not settings.PRODUCTION or settings.DESK_OTP == "required":
        return []
    return [
        checks.Warning(
            "DESK_OTP is not 'required': a password that leaks opens the desk, and with it refunds and retries",
            hint="Set DESK_OTP=required; each operator sets a phone up at the next sign-in.",
            id="saga_bridge.W001",
        )
    ]
