"""Many cases at once: exactly those that were chosen, each on its own, with a result for every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from desk.actions import RETRY
from sagas import services
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Case

BULK_REASON = "retried together with others"


def retry_cases(*, case_ids: Sequence[int], operator: str, reason: str = BULK_REASON) -> dict[int, str]:
    """Retry the cases of these numbers, each in a transaction of its own. Returns what came of each, or why not.

    The set is frozen: a case that has opened meanwhile is not touched, and one that is closed by now stays closed.
    """
    return {case_id: _retry(case_id, operator, reason) for case_id in dict.fromkeys(case_ids)}


def _retry(case_id: int, operator: str, reason: str) -> str:
    case = Case.objects.select_related("saga").filter(pk=case_id).first()
    if case is None:
        return "refused: there is no such case"
    if case.status != Case.Status.OPEN:
        return f"refused: closed already: {case.resolution}"
    try:
        if case.saga is None:
            return services.close_message_case(case_id=case_id, operator=operator, action=RETRY.name, reason=reason)
        # As it stands now: whoever has acted since makes this one stale, and it is told.
        seen_at = case.saga.updated_at
        return services.retry(saga_id=case.saga.pk, operator=operator, reason=reason, seen_at=seen_at)
    except (Refused, UnknownDefinition) as refusal:
        return f"refused: {refusal}"


@admin.action(description="Retry", permissions=["retry_case"])
def retry_selected(_admin: Any, request: HttpRequest, queryset: QuerySet[Case]) -> None:
    """Retry the cases that the operator has ticked, and say what came of each."""
    if request.POST.get("select_across") == "1":
        messages.error(request, "Nothing was changed: choose the cases that you have seen, page by page.")
        return
    chosen = [int(number) for number in queryset.order_by("pk").values_list("pk", flat=True)]
    for case_id, result in retry_cases(case_ids=chosen, operator=request.user.get_username()).items():
        say = messages.error if result.startswith("refused") else messages.info
        say(request, f"Case {case_id}: {result}")
