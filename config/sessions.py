"""When a session at the desk ends by itself: nobody has touched it for long, it is old, or its owner lost the desk.

Django ends it when the password changes or the account is deactivated, and gives it a new key at each sign-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from config.headers import DESK

BEGAN = "began_at"
TOUCHED = "touched_at"
# Noted at most so often: a page more does not cost a write more.
TOUCH_SECONDS = 60


class SessionLimitsMiddleware:
    """End sessions of the desk that are over; whoever comes with one is asked to sign in, and told why."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Only the desk has sessions; nothing else of the product asks for one.
        if not request.path_info.startswith(DESK):
            return self._get_response(request)
        if request.user.is_authenticated and (why := _why_over(request)):
            logout(request)
            messages.warning(request, f"You were signed out: {why}. Nothing was done since; sign in to go on.")
        response = self._get_response(request)
        if "HX-Request" in request.headers and _leads_to_login(response):
            # A part of a page that refreshes itself: the whole page has to go to the login, not that part.
            return HttpResponse(headers={"HX-Refresh": "true"})
        return response


def _why_over(request: HttpRequest) -> str:
    """Return why the session is over; nothing while it is not, and then note that it was touched."""
    if not request.user.is_staff:
        return "the desk is no longer open to you"
    now = time.time()
    began = request.session.setdefault(BEGAN, now)
    if now - began > settings.SESSION_COOKIE_AGE:
        return f"{settings.SESSION_COOKIE_AGE / 3600:g} hours have passed"
    touched = request.session.setdefault(TOUCHED, now)
    if now - touched > settings.SESSION_IDLE_SECONDS:
        return f"nothing was touched for {settings.SESSION_IDLE_SECONDS / 60:g} minutes"
    if now - touched > TOUCH_SECONDS and _is_by_person(request):
        request.session[TOUCHED] = now
    return ""


def _is_by_person(request: HttpRequest) -> bool:
    """Tell whether somebody clicked; a page that asks for news by itself keeps no session alive."""
    if request.method not in ("GET", "HEAD"):
        return True
    return "HX-Request" not in request.headers and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"


def _leads_to_login(response: HttpResponseBase) -> bool:
    return response.status_code == 302 and response.headers["Location"].startswith(reverse("admin:login"))
