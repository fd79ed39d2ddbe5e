"""What every page of the desk is built of: read-only lists that count no hot table, badges, redaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from outbox.redaction import redacted

_WRAPPED = "white-space: pre-wrap; overflow-wrap: anywhere"


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """A list to look at, paged without counting, searched by whole ids in `id_fields`, which have an index.

    What a person changes is changed by named actions that call a service.
    """

    id_fields: ClassVar[tuple[str, ...]] = ()
    paginator = InfinitePaginator
    show_full_result_count = False
    # Numbers beside the choices of a filter would be a count of the whole table for each.
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_fullwidth = True

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django passes it
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Nobody changes rows by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Nobody deletes rows by hand."""
        return False

    def get_search_fields(self, request: HttpRequest) -> Sequence[str]:  # noqa: ARG002
        """Show the search box when there is an id to search by."""
        return self.id_fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find rows by one of their ids; anything but a whole id finds nothing, and says so."""
        if not search_term:
            return queryset, False
        try:
            wanted = UUID(search_term.strip())
        except ValueError:
            self.message_user(request, "Give a whole id: this list is searched by id only.", messages.WARNING)
            return queryset.none(), False
        return queryset.filter(any_of(self.id_fields, wanted)), False


def any_of(fields: Iterable[str], value: object) -> Q:
    """Return the condition that one of the fields has this value."""
    condition = Q()
    for name in fields:
        condition |= Q((name, value))
    return condition


def badge(text: str, kind: str = "") -> SafeString:
    """Return a word on a colored ground; `kind` is success, info, warning, danger, or nothing for gray."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": kind})


def link(url: str, text: object) -> SafeString:
    """Return a link that looks like one."""
    return format_html(
        '<a href="{}" class="font-medium text-primary-600 hover:underline dark:text-primary-500">{}</a>',
        url,
        text,
    )


def order_url(order_id: UUID) -> str:
    """Return the address of an order's page, which tells all that happened under this key.

    By name: the page looks over all rooms, and lives above them.
    """
    return reverse("desk:order", args=[order_id])


def short(value: UUID | None) -> SafeString | str:
    """Return an id short enough for a column; the whole one shows on hover."""
    if value is None:
        return "-"
    text = str(value)
    return format_html('<span class="whitespace-nowrap" title="{}">{}…{}</span>', text, text[:8], text[-4:])


def clock(moment: datetime | None) -> str:
    """Return date and time to the millisecond, in UTC."""
    if moment is None:
        return "-"
    return moment.astimezone(timezone.get_default_timezone()).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def duration(start: datetime | None, end: datetime | None) -> str:
    """Return how long something took, or has taken so far, to two places of its unit."""
    if start is None:
        return "-"
    seconds = ((end or timezone.now()) - start).total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f}\N{NO-BREAK SPACE}ms"
    if seconds < 60:
        return f"{seconds:.2f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def as_json(value: Any) -> SafeString:
    """Return a value as indented JSON, redacted."""
    text = json.dumps(redacted(value), indent=2, ensure_ascii=False)
    return format_html('<pre class="leading-5 text-xs" style="{}">{}</pre>', _WRAPPED, text)
