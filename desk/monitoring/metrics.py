"""The metrics of the desk. Names are part of the public interface."""

from prometheus_client import Gauge

MONEY_AT_RISK = Gauge(
    "money_at_risk",
    "What live sagas hold of customers' money and goods, in minor units",
    ["kind", "currency"],
    multiprocess_mode="mostrecent",
)
MEASURED_AT = Gauge(
    "desk_monitoring_measured_timestamp_seconds",
    "When the monitoring view was last refreshed",
    multiprocess_mode="mostrecent",
)
SECONDS = Gauge("desk_monitoring_refresh_seconds", "How long its last refresh took", multiprocess_mode="mostrecent")
