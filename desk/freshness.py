"""Two browsers on one case: the page asks all the while whether it is still so, and says who has changed what.

This is a courtesy to the reader. What a stale page sends is refused by the services, whether it knew or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Max, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from desk.operators import operator_of
from desk.pages import desk_page
from outbox.desk import duration
from sagas.models import Case, OperatorAction

# How often a page asks, in seconds: soon enough that two people do not work on one case for long.
POLL_SECONDS = 5
# So many deeds are told one by one; of more the log tells.
MOST_TOLD = 5

# What a line of the operator log says of its person.
WORDS = {
    "claim": "claimed the case",
    "release": "given the case back to the team",
    "take over": "taken the case over",
    "note": "written a note",
    "retry": "retried it",
    "skip": "skipped the step",
    "resolve": "resolved it by hand",
    "abandon": "abandoned the saga",
    "compensate": "turned the saga back",
    "edit": "edited the message and sent it again",
    "cancel": "cancelled the order",
}
REQUESTS = {
    "request": "asked for a second person's approval of",
    "approve": "approved",
    "decline": "declined",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """The state that a page shows: the last line of the log, when the saga last changed, whether the case is open."""

    action_id: int
    saga_at: str
    status: str

    def __str__(self) -> str:
        return f"{self.action_id}.{self.saga_at}.{self.status}"

    @classmethod
    def of(cls, case: Case) -> Mark:
        """Return the state of a case as it is now."""
        last = _deeds(case).aggregate(last=Max("id"))["last"]
        return cls(last or 0, _moment(case), case.status)

    @classmethod
    def read(cls, text: str) -> Mark | None:
        """Return the state that a page says it has seen; None when that is not one."""
        action_id, _, rest = text.partition(".")
        saga_at, _, status = rest.partition(".")
        is_one = action_id.isdecimal() and len(action_id) < 19 and status in Case.Status.values
        return cls(int(action_id), saga_at, status) if is_one else None


def changes_since(case: Case, seen: Mark, *, reader: str) -> list[str]:
    """Return in sentences what has happened to a case since it was seen; none when it is as it was."""
    deeds = list(_deeds(case).filter(id__gt=seen.action_id).order_by("-id")[: MOST_TOLD + 1])
    told = [*_told(deeds, reader)]
    if case.status != seen.status:
        told.append(f"The case is closed: {case.get_resolution_display().lower()}.")
    elif case.saga is not None and _moment(case) != seen.saga_at:
        told.append(f"The saga has gone on: it is {case.saga.status} now.")
    return told


@desk_page("sagas.view_case")
def fragment(request: HttpRequest, case_id: int) -> HttpResponse:
    """Return what has changed since the state that was seen, for the page to show; 204 while nothing has."""
    case = Case.objects.select_related("saga").defer("saga__data").filter(pk=case_id).first()
    if case is None:
        raise Http404(f"there is no case {case_id}")
    seen = Mark.read(request.GET.get("seen", ""))
    changes = changes_since(case, seen, reader=operator_of(request)) if seen else ["Nobody knows what you have seen."]
    if not changes:
        return HttpResponse(status=204)
    return TemplateResponse(
        request, "desk/freshness.html", {"case": case, "seen": seen, "changes": changes, "poll_seconds": POLL_SECONDS}
    )


def _deeds(case: Case) -> QuerySet[OperatorAction]:
    about = Q(case_id=case.pk) | Q(saga_id=case.saga_id) if case.saga_id else Q(case_id=case.pk)
    return OperatorAction.objects.filter(about)


def _told(deeds: Sequence[OperatorAction], reader: str) -> Iterator[str]:
    now = timezone.now()
    for deed in reversed(deeds[:MOST_TOLD]):
        ago = duration(min(deed.at, now - timedelta(seconds=1)), now)
        is_own = deed.operator == reader
        who, where = ("You have", " in another window") if is_own else (f"{deed.operator} has", "")
        yield f"{who} {_what(deed.action)}{where} ({deed.result}), {ago} ago."
    if len(deeds) > MOST_TOLD:
        yield "More has happened: the table of what people did tells all of it."


def _what(action: str) -> str:
    first, _, rest = action.partition(" ")
    if first in REQUESTS and rest:
        return f"{REQUESTS[first]} “{rest}”"
    return WORDS.get(action, f"done this: “{action}”")


def _moment(case: Case) -> str:
    return str(int(case.saga.updated_at.timestamp() * 1_000_000)) if case.saga is not None else ""
