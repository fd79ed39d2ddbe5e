"""The metrics of bulk runs. Names are part of the public interface."""

from prometheus_client import Counter

ROWS = Counter(
    "desk_bulk_rows_total",
    "Cases of bulk runs, counted for each outcome that they come to",
    ["action", "outcome"],
)
