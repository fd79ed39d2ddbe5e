"""The desk's view of analytics: orders per day."""

from __future__ import annotations

from django.contrib import admin

from analytics.models import OrdersPerDay
from outbox.desk import ReadOnlyAdmin


@admin.register(OrdersPerDay)
class OrdersPerDayAdmin(ReadOnlyAdmin):
    """How many orders reached which outcome, latest day first; amounts in minor units."""

    list_display = ("day", "outcome", "currency", "orders", "amount")
    list_filter = ("outcome", "currency")
    ordering = ("-day", "outcome", "currency")
    sortable_by = ()
