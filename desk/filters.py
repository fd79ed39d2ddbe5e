"""By what the desk's lists of sagas and cases can be narrowed; no choice is looked up by reading a whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from desk.groups import group_of
from outbox.contracts import ACTION, COMPENSATION
from outbox.money import EXPONENTS, USUAL_EXPONENT
from sagas.definition import CLOSE, definitions
from sagas.models import Case, SagaInstance

# An amount as people write it; more digits no column holds in minor units.
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")
# Walks from value to value along the index of the column, a look for each, instead of reading the whole table.
_VALUES = """
WITH RECURSIVE known AS (
    (SELECT {column} AS value FROM {table} ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT t.{column} FROM {table} t WHERE t.{column} > known.value ORDER BY t.{column} LIMIT 1)
    FROM known WHERE known.value IS NOT NULL
)
SELECT value FROM known WHERE value IS NOT NULL LIMIT 200
"""


def values_of(*, table: str, column: str) -> list[str]:
    """Return the values that a column has, at most 200. It needs an index of its own; both names are our own too."""
    with connection.cursor() as cursor:
        cursor.execute(_VALUES.format(table=table, column=column))
        return [value for (value,) in cursor.fetchall()]


class NameFilter(admin.SimpleListFilter):
    """By saga, named without a look at the hot table."""

    title = "saga"
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the sagas that this release knows."""
        return [(name, name) for name in sorted({name for name, _ in definitions()})]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[SagaInstance],
    ) -> QuerySet[SagaInstance]:
        """Restrict to one."""
        return queryset.filter(name=self.value()) if self.value() else queryset


class ChoiceFilter(admin.SimpleListFilter):
    """One of a few values, chosen from a drop-down that works without any script."""

    template = "desk/filter.html"
    all_of_them: str = "All"

    def choices(self, changelist: Any) -> Iterator[Any]:  # noqa: ARG002 - Django passes it
        """Return the drop-down."""
        field = forms.ChoiceField(
            label=str(self.title).capitalize(),
            choices=[("", self.all_of_them), *self.lookup_choices],
            required=False,
            widget=UnfoldAdminSelectWidget,
        )
        yield {"form": _form({str(self.parameter_name): field}, {str(self.parameter_name): self.value() or ""})}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Case]) -> QuerySet[Case]:  # noqa: ARG002
        """Restrict to what was chosen."""
        value = self.value()
        return queryset.filter(self.condition(value)) if value else queryset

    def condition(self, value: str) -> Q:
        """Return what a case must be like."""
        return Q((str(self.parameter_name), value))


class StatusFilter(ChoiceFilter):
    """Open ones unless others are asked for: closed ones wait for nobody. A search looks everywhere."""

    title = "status"
    parameter_name = "status__exact"
    EVERY = "all"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the choices."""
        return [("OPEN", "Open"), ("CLOSED", "Closed"), (self.EVERY, "Open and closed")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Say what stands when nothing was chosen."""
        self.all_of_them = f"Open{' and closed, while you search' if changelist.query else ''}"
        return super().choices(changelist)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Case]) -> QuerySet[Case]:
        """Restrict to what was chosen, or else to open ones."""
        status = status_shown(request)
        return queryset if status == self.EVERY else queryset.filter(status=status)


def status_shown(request: HttpRequest) -> str:
    """Return whether the list shows OPEN cases, CLOSED ones, or all."""
    chosen = request.GET.get(StatusFilter.parameter_name, "")
    if chosen:
        return chosen
    closed_too = request.GET.get("q") or request.GET.get(ResolutionFilter.parameter_name)
    return StatusFilter.EVERY if closed_too else str(Case.Status.OPEN)


class OverdueFilter(ChoiceFilter):
    """Open and past its due time, or about to be."""

    title = "due"
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the choices."""
        return [("overdue", "Overdue"), ("hour", "Within an hour"), ("later", "Later")]

    def condition(self, value: str) -> Q:
        """Compare with the clock."""
        now = timezone.now()
        soon = now + timedelta(hours=1)
        when = {"overdue": Q(due_at__lt=now), "hour": Q(due_at__gte=now, due_at__lt=soon), "later": Q(due_at__gte=soon)}
        return Q(status=Case.Status.OPEN) & when.get(value, Q(pk__in=()))


class OwnerFilter(ChoiceFilter):
    """By who has it."""

    title = "owner"
    parameter_name = "owner_is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the choices."""
        self._me = request.user.get_username()
        return [("me", "Me"), ("nobody", "Nobody yet"), ("somebody", "Somebody")]

    def condition(self, value: str) -> Q:
        """Compare with who looks."""
        has_owner = Q(claimed_at__isnull=False)
        who = {"me": has_owner & Q(owner=self._me), "nobody": Q(claimed_at__isnull=True), "somebody": has_owner}
        return who.get(value, Q(pk__in=()))


class StepFilter(ChoiceFilter):
    """By the step that cannot go on."""

    title = "step"
    parameter_name = "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the steps that this release knows."""
        steps = dict.fromkeys(step for definition in definitions().values() for step in definition.by_name)
        return [*((step, step) for step in steps), (CLOSE, "close: tell the order")]


class DirectionFilter(ChoiceFilter):
    """By whether it goes forward or is undone."""

    title = "direction"
    parameter_name = "direction"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the choices."""
        return [(ACTION, "Action: going forward"), (COMPENSATION, "Compensation: undoing")]


class ErrorFilter(ChoiceFilter):
    """By error class."""

    title = "error"
    parameter_name = "error_class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the classes that any case has."""
        return [(value, value) for value in values_of(table="sagas_case", column="error_class")]


class GroupFilter(ChoiceFilter):
    """By failure group; chosen on the groups' own page, and shown here with its title."""

    title = "failure group"
    parameter_name = "fingerprint"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the one that was chosen."""
        chosen = request.GET.get("fingerprint", "")
        example = Case.objects.filter(fingerprint=chosen).order_by("status", "due_at").first() if chosen else None
        return [(chosen, group_of(example).title if example else "No such group")] if chosen else []

    def has_output(self) -> bool:
        """Show nothing while no group is chosen."""
        return bool(self.lookup_choices)


class AgeFilter(ChoiceFilter):
    """By how long ago it was opened."""

    title = "age"
    parameter_name = "age"
    SPANS: ClassVar = {
        "1h": ("Over an hour", timedelta(hours=1)),
        "4h": ("Over 4 hours", timedelta(hours=4)),
        "1d": ("Over a day", timedelta(days=1)),
        "7d": ("Over a week", timedelta(days=7)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the spans."""
        return [("new", "Up to an hour"), *((name, words) for name, (words, _) in self.SPANS.items())]

    def condition(self, value: str) -> Q:
        """Compare with the clock."""
        now = timezone.now()
        if value == "new":
            return Q(opened_at__gte=now - timedelta(hours=1))
        return Q(opened_at__lt=now - self.SPANS[value][1]) if value in self.SPANS else Q(pk__in=())


class ResolutionFilter(ChoiceFilter):
    """By how it ended."""

    title = "resolution"
    parameter_name = "resolution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the ends."""
        return [(value, label) for value, label in Case.Resolution.choices]

    def condition(self, value: str) -> Q:
        """Only what has ended has an end."""
        return Q(status=Case.Status.CLOSED, resolution=value)


class RangeFilter(admin.SimpleListFilter):
    """By two bounds that are typed. `BOUNDS` names each parameter, in words and as Django compares."""

    template = "desk/filter.html"
    BOUNDS: ClassVar[dict[str, tuple[str, str]]]

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.BOUNDS:
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]

    def field(self, words: str) -> forms.Field:
        """Return the field of one bound."""
        raise NotImplementedError

    def condition(self, text: str, comparison: str) -> Q:
        """Return what a bound that was typed asks for; of one that makes no sense, what nothing meets."""
        raise NotImplementedError

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
        fields = {name: self.field(words) for name, (words, _) in self.BOUNDS.items()}
        yield {"form": _form(fields, {name: self.used_parameters.get(name, "") for name in self.BOUNDS})}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """Restrict to what lies between the bounds."""
        for name, (_, comparison) in self.BOUNDS.items():
            if text := str(self.used_parameters.get(name) or "").strip():
                queryset = queryset.filter(self.condition(text, comparison))
        return queryset


class AmountFilter(RangeFilter):
    """By the money that hangs on it, as a decimal number, in whatever currency each case is."""

    title = "amount"
    parameter_name = "amount_from"
    BOUNDS: ClassVar = {"amount_from": ("From", "gte"), "amount_to": ("To", "lte")}

    def field(self, words: str) -> forms.Field:
        """Return a field for an amount."""
        widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "placeholder": "100.00"})
        return forms.CharField(label=f"Amount {words.lower()}", required=False, widget=widget)

    def condition(self, text: str, comparison: str) -> Q:
        """Compare in the minor units of each currency."""
        return _amount(text, comparison)


def _amount(text: str, comparison: str) -> Q:
    if not _NUMBER.fullmatch(text):
        return Q(pk__in=())
    amount = Decimal(text)
    minor = {e: int(amount.scaleb(e)) for e in {*EXPONENTS.values(), USUAL_EXPONENT}}
    odd = {currency: e for currency, e in EXPONENTS.items() if e != USUAL_EXPONENT}
    condition = ~Q(currency__in=odd) & Q((f"amount__{comparison}", minor[USUAL_EXPONENT]))
    for exponent in set(odd.values()):
        alike = [currency for currency, e in odd.items() if e == exponent]
        condition |= Q((f"amount__{comparison}", minor[exponent]), currency__in=alike)
    return condition


def _form(fields: dict[str, forms.Field], data: dict[str, Any]) -> forms.Form:
    form = forms.Form(data=data)
    form.fields.update(fields)
    return form
