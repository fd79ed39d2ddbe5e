"""The way from the list of cases to a bulk run: what was ticked becomes a frozen set, and a page says what would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from desk.actions import ACTIONS
from desk.bulk import services
from desk.operators import operator_of, origin_of
from sagas.engine import Refused
from sagas.models import Case

Action = Callable[[Any, HttpRequest, QuerySet[Case]], HttpResponse | None]


def bulk_action(name: str) -> Action:
    """Return the action of the list of cases that does this with all that are ticked, by way of a preview.

    Its page has `has_bulk_<name>_permission`, made by `may_bulk`, which says who sees it.
    """

    def freeze_ticked(_admin: Any, request: HttpRequest, queryset: QuerySet[Case]) -> HttpResponse | None:
        if request.POST.get("select_across") == "1":
            messages.error(request, "Nothing was changed: choose the cases that you have seen, page by page.")
            return None
        chosen = list(queryset.values_list("pk", flat=True))
        return freeze_and_show(request, case_ids=chosen, action=name, source="ticked in the list of cases")

    freeze_ticked.__name__ = f"bulk_{name}"
    described = admin.action(description=f"{ACTIONS[name].title}: all that are ticked", permissions=[f"bulk_{name}"])
    return described(freeze_ticked)


def may_bulk(name: str) -> Callable[[Any, HttpRequest], bool]:
    """Return the check of a page whether this person may do this with many cases."""
    return lambda _admin, request: request.user.has_perms([services.PERMISSION, ACTIONS[name].permission])


def freeze_and_show(request: HttpRequest, *, case_ids: list[int], action: str, source: str) -> HttpResponse | None:
    """Freeze these cases and lead to the preview; say what speaks against it, and return None then.

    Raises `PermissionDenied`.
    """
    try:
        run = services.freeze(
            case_ids=case_ids, action=action, operator=operator_of(request), origin=origin_of(request), source=source
        )
    except services.MayNot as lack:
        raise PermissionDenied from lack
    except Refused as refusal:
        messages.error(request, f"Nothing was changed: {refusal}.")
        return None
    return HttpResponseRedirect(reverse("desk:bulk-run", args=[run.pk]))
