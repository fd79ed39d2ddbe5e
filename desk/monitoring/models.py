"""What the monitoring view keeps: when it last looked, and a line for every minute."""

from __future__ import annotations

from typing import Any

from django.db import models


class Measurement(models.Model):
    """When the materialized views were last refreshed, and how long that took; a single row."""

    id = models.SmallIntegerField(primary_key=True)
    at = models.DateTimeField()
    seconds = models.FloatField()

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(id=1), name="desk_measurement_single"),)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"


class Minute(models.Model):
    """One minute of the shop.

    Of the sagas that were `started` in it, so many have `completed` and so many `turned_back` up to now: both grow
    while those sagas go on. The others are levels, as they were when the minute was last looked at; empty when nobody
    looked. `lag_seconds` is the highest of the minute. `money` is `{kind: {currency: minor units}}`.
    """

    at = models.DateTimeField(primary_key=True)
    started = models.IntegerField(db_default=0)
    completed = models.IntegerField(db_default=0)
    turned_back = models.IntegerField(db_default=0)
    open_cases = models.IntegerField(null=True)
    overdue = models.IntegerField(null=True)
    lag_seconds = models.FloatField(null=True)
    dead = models.IntegerField(null=True)
    money: models.JSONField[Any, Any] = models.JSONField(null=True)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"
