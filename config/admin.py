"""The desk's pages for what comes from libraries: schedules and accounts, in the desk's own look.

Customers' API tokens have no page: a token is shown once, by `api_token`. Nor have the secrets of one-time codes.
"""

from __future__ import annotations

from django.contrib import admin
from django.urls import reverse
from django.utils.safestring import SafeString
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.authtoken.models import TokenProxy

from config.accounts import FailedSignInAdmin, GroupAdmin, UserAdmin
from outbox.desk import ReadOnlyAdmin, link

__all__ = ["FailedSignInAdmin", "GroupAdmin", "UserAdmin"]

for model in (
    TokenProxy,
    StaticDevice,
    TOTPDevice,
    PeriodicTask,
    IntervalSchedule,
    CrontabSchedule,
    ClockedSchedule,
    SolarSchedule,
):
    admin.site.unregister(model)


@admin.register(PeriodicTask)
class ScheduleAdmin(ReadOnlyAdmin):
    """What beat runs, and how often. It is changed by the desk's switches alone, which write down who did it and why.

    The library's own tables of intervals and crontabs have no page: whoever changes such a row changes all schedules
    that share it, and leaves no line in the log.
    """

    list_display = ("name", "task", "scheduler", "enabled", "last_run_at")
    list_filter = ("enabled",)
    ordering = ("name",)
    sortable_by = ()
    fields = (
        ("name", "enabled"),
        ("task", "queue"),
        ("scheduler", "expire_seconds"),
        ("args", "kwargs"),
        ("last_run_at", "total_run_count"),
        ("description",),
        ("change",),
    )

    @admin.display(description="runs")
    def scheduler(self, task: PeriodicTask) -> str:
        """How often."""
        return str(task.scheduler)

    @admin.display(description="change it")
    def change(self, task: PeriodicTask) -> SafeString:
        """Leads to where it can be changed."""
        return link(reverse("desk:switches"), f"Turn {task.name} on or off, or change how often it runs: Switches")
