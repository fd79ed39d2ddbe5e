"""By what the operator log can be narrowed; every filter has its index, and no choice is looked up in the whole log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.db.models import Q
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextInputWidget

from desk.filters import ChoiceFilter, RangeFilter, values_of


class ValueFilter(ChoiceFilter):
    """By one of the values that a column of the log has."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the values."""
        return [(value, value) for value in values_of(table="sagas_operatoraction", column=str(self.parameter_name))]


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


class TimeFilter(RangeFilter):
    """By when, in UTC."""

    title = "time"
    parameter_name = "at_from"
    BOUNDS: ClassVar = {"at_from": ("From", "gte"), "at_to": ("Before", "lt")}

    def field(self, words: str) -> forms.Field:
        """Return a field for a time."""
        widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
        return forms.CharField(label=f"{words} (UTC)", required=False, widget=widget)

    def condition(self, text: str, comparison: str) -> Q:
        """Compare with the time of the line."""
        return _when(text, comparison)


def _when(text: str, comparison: str) -> Q:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return Q(pk__in=())
    return Q((f"at__{comparison}", moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
