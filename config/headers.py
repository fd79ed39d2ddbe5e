"""What every answer tells the browser: what a page may load and do, who may frame it, and that it is kept nowhere.

One table, from the longest address to the shortest, so that a new page is closed until somebody opens it here.
"""

from __future__ import annotations

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase

DESK = "/admin/"
DOCS = "/api/docs"

Policy = dict[str, tuple[str, ...]]

_CLOSED: Policy = {"default-src": (NONE,), "frame-ancestors": (NONE,)}
_PAGE: Policy = {
    **_CLOSED,
    "script-src": (SELF,),
    # Both looks write colors and widths into the page: unfold its theme as a <style>, Swagger its reset. Styles cannot
    # send anything anywhere, since images and fonts come from here alone.
    "style-src": (SELF, UNSAFE_INLINE),
    "img-src": (SELF, "data:"),
    "font-src": (SELF,),
    "connect-src": (SELF,),
    "form-action": (SELF,),
    "base-uri": (NONE,),
    "object-src": (NONE,),
}
POLICIES: dict[str, Policy] = {
    # Alpine, which unfold's menus and tabs are made of, compiles the expressions in its attributes. No inline script
    # runs all the same, so what is injected into a page as markup stays markup.
    DESK: _PAGE | {"script-src": (SELF, UNSAFE_EVAL)},
    DOCS: _PAGE,
    # Answers of the API, webhooks, probes, files: none of them is a page.
    "/": _CLOSED,
}
# What the desk has no use for, so that nothing that slips into a page has either.
PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"


class HeadersMiddleware(CSPMiddleware):
    """Give every answer the policy of its address, and keep what the desk shows out of caches and other sites."""

    def get_policy_parts(
        self,
        request: HttpRequest,
        response: HttpResponseBase,  # noqa: ARG002 - what was answered does not matter
        report_only: bool = False,
    ) -> PolicyParts:
        """Return the policy; there is none that only reports."""
        if report_only:
            return PolicyParts()
        policy = next(policy for place, policy in POLICIES.items() if request.path_info.startswith(place))
        return PolicyParts(config=policy)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the headers."""
        if request.path_info.startswith(DESK):
            # The browser's way back after signing out shows nothing either.
            response.headers["Cache-Control"] = "no-store"
            response.headers["Permissions-Policy"] = PERMISSIONS
            response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return super().process_response(request, response)
