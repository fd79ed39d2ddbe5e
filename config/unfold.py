"""How the desk presents itself: its name, and a sidebar of what the reader may see."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

FAVICON = quote(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#9810fa"/>'
    '<path d="M5 16h6c4 0 4-8 8-8" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round"/></svg>'
)

# Group, then model, icon and title of each entry.
SIDEBAR: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Desk": (
        ("sagas.Case", "assignment_late", "Cases"),
        ("sagas.SagaInstance", "account_tree", "Sagas"),
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
    ),
    "Operation": (
        ("django_celery_beat.PeriodicTask", "schedule", "Schedules"),
        ("auth.User", "person", "Users"),
        ("auth.Group", "group", "Groups"),
    ),
}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the entries whose pages exist and which the reader may see."""
    groups: list[dict[str, Any]] = []
    for title, entries in SIDEBAR.items():
        items = [_item(label, icon, name) for label, icon, name in entries if _is_visible(label, request)]
        if items:
            groups.append({"title": title, "separator": bool(groups), "items": items})
    return groups


def open_cases(request: HttpRequest) -> str:  # noqa: ARG001 - unfold passes it
    """Return how many cases wait for a person."""
    # The settings import this module before any model can be had.
    from sagas.models import Case

    return str(Case.objects.filter(status=Case.Status.OPEN).count())


def _is_visible(label: str, request: HttpRequest) -> bool:
    page = admin.site._registry.get(apps.get_model(label))  # noqa: SLF001 - it has no public way to ask
    return page is not None and page.has_view_permission(request)


def _item(label: str, icon: str, title: str) -> dict[str, Any]:
    app, model = label.lower().split(".")
    item = {"title": title, "icon": icon, "link": reverse(f"admin:{app}_{model}_changelist")}
    if label == "sagas.Case":
        item["badge"] = "config.unfold.open_cases"
    return item


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "saga-bridge",
    "SITE_HEADER": "saga-bridge",
    "SITE_SUBHEADER": "The desk",
    "SITE_SYMBOL": "conversion_path",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"data:image/svg+xml,{FAVICON}"}],
    "SHOW_HISTORY": False,
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "desk.home.figures",
    "SIDEBAR": {"show_search": False, "navigation": "config.unfold.sidebar"},
}
