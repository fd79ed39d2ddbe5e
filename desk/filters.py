"""By what the desk's lists of sagas and cases can be narrowed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from sagas.definition import definitions
from sagas.models import Case, SagaInstance


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


class OverdueFilter(admin.SimpleListFilter):
    """Open and past its due time."""

    title = "due"
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the choice."""
        return [("overdue", "Overdue")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Case]) -> QuerySet[Case]:  # noqa: ARG002
        """Restrict to what is overdue."""
        if self.value() != "overdue":
            return queryset
        return queryset.filter(status=Case.Status.OPEN, due_at__lt=timezone.now())
