"""The metrics of coordination. Names are part of the public interface."""

from prometheus_client import Counter, Gauge, Histogram

FLOW = "orchestrated"

STARTED = Counter("saga_started_total", "Sagas started", ["saga", "flow"])
COMPLETED = Counter("saga_completed_total", "Sagas completed", ["saga", "flow"])
COMPENSATED = Counter("saga_compensated_total", "Sagas that turned back and undid everything", ["saga", "flow"])
COMPENSATIONS = Counter("saga_compensations_total", "Sagas that turned back", ["saga", "flow"])
INSTANCES = Gauge("saga_instances", "Live sagas", ["saga", "status"], multiprocess_mode="mostrecent")
STEP_SECONDS = Histogram(
    "saga_step_duration_seconds",
    "From command to reply",
    ["saga", "step", "direction", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
SECONDS = Histogram(
    "saga_duration_seconds",
    "From start to end",
    ["saga", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
CASES_OPEN = Gauge("saga_cases_open", "Cases that need a person", multiprocess_mode="mostrecent")
APPROVALS_WAITING = Gauge(
    "saga_approvals_waiting", "Requests that wait for a second person", multiprocess_mode="mostrecent"
)
APPROVAL_OLDEST = Gauge(
    "saga_approval_oldest_seconds", "Age of the oldest request that waits", multiprocess_mode="mostrecent"
)
CASE_OLDEST = Gauge("saga_case_oldest_seconds", "Age of the oldest open case", multiprocess_mode="mostrecent")
