"""How the desk presents itself: its name, and a sidebar of what the reader may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

FAVICON = quote(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#9810fa"/>'
    '<path d="M5 16h6c4 0 4-8 8-8" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round"/></svg>'
)

# Group, then model, icon and title of each entry.
SIDEBAR: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Desk": (
        ("sagas.Case", "assignment_late", "Cases"),
        ("desk:groups", "category", "Failure groups"),
        ("desk.BulkRun", "checklist", "Bulk runs"),
        ("sagas.SagaInstance", "account_tree", "Sagas"),
        ("sagas.Approval", "approval", "Approvals"),
        ("sagas.OperatorAction", "history", "Operator log"),
    ),
    "Shop": (
        ("orders.Order", "shopping_cart", "Orders"),
        ("inventory.Stock", "inventory_2", "Products"),
        ("payments.Payment", "payments", "Payments"),
        ("payments.Refund", "undo", "Refunds"),
        ("payments.WebhookEvent", "webhook", "Webhooks"),
        ("payments.Mismatch", "balance", "Mismatches"),
        ("shipping.Shipment", "local_shipping", "Shipments"),
        ("notifications.Email", "mail", "E-mails"),
    ),
    "Messages": (
        ("outbox.Message", "forum", "Message log"),
        ("outbox.Delivery", "outbox", "Deliveries"),
        ("outbox.Attempt", "error", "Failed attempts"),
        ("outbox.GatewayCall", "call_made", "Gateway calls"),
    ),
    "Operation": (
        ("desk:switches", "toggle_on", "Switches"),
        ("django_celery_beat.PeriodicTask", "schedule", "Schedules"),
        ("auth.User", "person", "Users"),
        ("auth.Group", "group", "Groups"),
        ("composition.FailedSignIn", "lock_person", "Failed sign-ins"),
    ),
}

# Pages that are about no table, by the name of their address, and the permissions of which one opens them.
PAGES = {"desk:groups": ("sagas.view_case",), "desk:switches": ("sagas.switch", "outbox.view_delivery")}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the entries whose pages exist and which the reader may see."""
    groups: list[dict[str, Any]] = []
    for title, entries in SIDEBAR.items():
        items = [_item(request, label, icon, name) for label, icon, name in entries if _is_visible(label, request)]
        if items:
            groups.append({"title": title, "separator": bool(groups), "items": items})
    return groups


def open_cases(request: HttpRequest) -> str:  # noqa: ARG001 - unfold passes it
    """Return how many cases waited for a person when the monitoring view was measured."""
    # The settings import this module before any model can be had.
    from desk.monitoring.selectors import count_open_cases

    return str(count_open_cases())


def waiting_approvals(request: HttpRequest) -> str:  # noqa: ARG001 - unfold passes it
    """Return how many requests wait for a second person; they are few, and have an index of their own."""
    from sagas.four_eyes import waiting

    return str(waiting().count())


def _is_visible(label: str, request: HttpRequest) -> bool:
    if label in PAGES:
        return any(request.user.has_perm(permission) for permission in PAGES[label])
    page = admin.site._registry.get(apps.get_model(label))  # noqa: SLF001 - it has no public way to ask
    return page is not None and page.has_view_permission(request)


def _item(request: HttpRequest, label: str, icon: str, title: str) -> dict[str, Any]:
    if label in PAGES:
        return {"title": title, "icon": icon, "link": reverse(label)}
    app, model = label.lower().split(".")
    item = {"title": title, "icon": icon, "link": reverse(f"admin:{app}_{model}_changelist")}
    # A red zero would tell of trouble where there is none.
    if label in BADGES and (count := BADGES[label](request)) != "0":
        item["badge"] = count
    return item


# What waits behind an entry.
BADGES: dict[str, Callable[[HttpRequest], str]] = {"sagas.Case": open_cases, "sagas.Approval": waiting_approvals}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "saga-bridge",
    "SITE_HEADER": "saga-bridge",
    "SITE_SUBHEADER": "The desk",
    "SITE_SYMBOL": "conversion_path",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"data:image/svg+xml,{FAVICON}"}],
    "ACCOUNT": {"navigation": "config.second_factor.pages.account_links"},
    "STYLES": [lambda request: static("desk/reach.css")],  # noqa: ARG005 - unfold passes it
    "SCRIPTS": [lambda request: static("desk/reach.js")],  # noqa: ARG005
    "SHOW_HISTORY": False,
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "desk.home.figures",
    "SIDEBAR": {"show_search": False, "navigation": "config.unfold.sidebar"},
}
