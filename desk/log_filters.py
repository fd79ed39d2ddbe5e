"""By what the operator log can be narrowed; every filter has its index, and no choice is looked up in the whole log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextInputWidget

from desk.filters import ChoiceFilter
from sagas.models import OperatorAction

# Walks from value to value along the index of the column, a look for each, instead of reading all of the log.
_VALUES = """
WITH RECURSIVE known AS (
    (SELECT {column} AS value FROM sagas_operatoraction ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT a.{column} FROM sagas_operatoraction a WHERE a.{column} > known.value ORDER BY a.{column} LIMIT 1)
    FROM known WHERE known.value IS NOT NULL
)
SELECT value FROM known WHERE value IS NOT NULL LIMIT 200
"""


class ValueFilter(ChoiceFilter):
    """By one of the values that a column of the log has."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the values."""
        with connection.cursor() as cursor:
            cursor.execute(_VALUES.format(column=self.parameter_name))
            return [(value, value) for (value,) in cursor.fetchall()]


class OperatorFilter(ValueFilter):
    """By who did it."""

    title = "operator"
    parameter_name = "operator"


class ActionFilter(ValueFilter):
    """By what was done."""

    title = "action"
    parameter_name = "action"


class ResultFilter(ValueFilter):
    """By what was said at the time; what has come of it since is told by other tables."""

    title = "result at the time"
    parameter_name = "result"


class TimeFilter(admin.SimpleListFilter):
    """By when, in UTC."""

    title = "time"
    parameter_name = "at_from"
    template = "desk/filter.html"
    BOUNDS: ClassVar = {"at_from": ("From", "gte"), "at_to": ("Before", "lt")}

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        if "at_to" in params:
            self.used_parameters["at_to"] = params.pop("at_to")[-1]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name none: it is typed."""
        return []

    def has_output(self) -> bool:
        """Show it always."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Name both bounds."""
        return list(self.BOUNDS)

    def choices(self, changelist: Any) -> Iterator[Any]:  # noqa: ARG002 - Django passes it
        """Return the two fields."""
        form = forms.Form(data={name: self.used_parameters.get(name, "") for name in self.BOUNDS})
        for name, (words, _) in self.BOUNDS.items():
            widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
            form.fields[name] = forms.CharField(label=f"{words} (UTC)", required=False, widget=widget)
        yield {"form": form}

    def queryset(self, request: HttpRequest, queryset: QuerySet[OperatorAction]) -> QuerySet[OperatorAction]:  # noqa: ARG002
        """Restrict to it; what is no time finds nothing."""
        for name, (_, comparison) in self.BOUNDS.items():
            if text := str(self.used_parameters.get(name) or "").strip():
                queryset = queryset.filter(_when(text, comparison))
        return queryset


def _when(text: str, comparison: str) -> Q:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return Q(pk__in=())
    return Q((f"at__{comparison}", moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
