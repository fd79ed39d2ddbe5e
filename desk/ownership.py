"""The buttons of a case's owner and notes: each posts here, calls one service, and says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from desk.operators import operator_of, origin_of
from desk.pages import desk_page, show
from sagas import cases
from sagas.engine import Refused


@desk_page("sagas.view_case", "sagas.claim_case")
@require_POST
def change_owner(request: HttpRequest, case_id: int) -> HttpResponse:
    """Claim a case, release it, or take it over from the owner who was seen, whichever button was pressed."""
    given: dict[str, Any] = {"case_id": case_id, "operator": operator_of(request), "origin": origin_of(request)}
    match request.POST.get("do"):
        case "claim":
            return _do(request, case_id, lambda: cases.claim(**given), "It is yours now: the others see it.")
        case "release":
            return _do(request, case_id, lambda: cases.release(**given), "It is nobody's now: anybody can claim it.")
        case "take over":
            given |= {"from_owner": request.POST.get("owner", ""), "reason": request.POST.get("reason", "")}
            return _do(request, case_id, lambda: cases.take_over(**given), "You have taken it over.")
    return _refuse(request, case_id, "no such button")


@desk_page("sagas.view_case", "sagas.note_case")
@require_POST
def add_note(request: HttpRequest, case_id: int) -> HttpResponse:
    """Add a note to a case."""
    text = request.POST.get("text", "")
    given: dict[str, Any] = {"case_id": case_id, "operator": operator_of(request), "origin": origin_of(request)}
    return _do(request, case_id, lambda: cases.note(text=text, **given), "Your note is on the case.", typed=text)


def _do(
    request: HttpRequest, case_id: int, service: Callable[[], object], done: str, *, typed: str = ""
) -> HttpResponse:
    try:
        service()
    except Refused as refusal:
        return _refuse(request, case_id, str(refusal), typed=typed)
    messages.success(request, done)
    return HttpResponseRedirect(_url(case_id))


def _refuse(request: HttpRequest, case_id: int, why: str, *, typed: str = "") -> HttpResponse:
    """Say why nothing was changed, with what was typed, so that it is not lost."""
    return show(
        request,
        "desk/refused.html",
        title="Nothing was changed",
        status=409,
        why=why,
        typed=typed,
        back_url=_url(case_id),
        back=f"Look at case {case_id} as it is now",
    )


def _url(case_id: int) -> str:
    return reverse("admin:sagas_case_change", args=[case_id])
