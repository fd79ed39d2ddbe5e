"""The tables of the desk, gathered from its rooms, as Django looks for them here."""

from desk.bulk.models import BulkRow, BulkRun
from desk.monitoring.models import Measurement, Minute

__all__ = ["BulkRow", "BulkRun", "Measurement", "Minute"]
