"""The metrics of messaging and of the gateways behind it. Names are part of the public interface."""

from prometheus_client import Counter, Gauge, Histogram

PENDING = Gauge("outbox_pending", "Deliveries waiting, by destination", ["destination"], multiprocess_mode="mostrecent")
OLDEST_PENDING = Gauge(
    "outbox_oldest_pending_seconds", "Age of the oldest waiting delivery", multiprocess_mode="mostrecent"
)
BLOCKED_KEYS = Gauge(
    "outbox_blocked_keys", "Ordering keys that wait behind a stuck delivery", multiprocess_mode="mostrecent"
)
OLDEST_XMIN = Gauge(
    "outbox_oldest_xmin_age",
    "Transactions since the oldest snapshot still held",
    multiprocess_mode="mostrecent",
)
DELIVERED = Counter("outbox_delivered_total", "Deliveries by outcome", ["destination", "outcome"])
PAUSED = Gauge(
    "outbox_paused",
    "Whether a person has paused a destination, or its compensations",
    ["destination"],
    multiprocess_mode="mostrecent",
)
DEAD = Counter("outbox_dead_total", "Deliveries whose attempts are spent")
DUPLICATES = Counter("inbox_duplicates_total", "Messages that a consumer had handled already")
FENCED = Counter("outbox_fenced_total", "Outcomes refused because the lease had passed to another relay")
BATCH = Histogram(
    "outbox_batch_messages",
    "Messages claimed at once",
    ["lane"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
CONFLICTS = Counter("outbox_conflicts_total", "Transactions that lost a deadlock and were run again")
CONNECTIONS = Gauge("database_connections", "Connections of the server in use", multiprocess_mode="mostrecent")
CONNECTIONS_LIMIT = Gauge("database_connections_limit", "Connections that it has", multiprocess_mode="mostrecent")
DOORBELL_LOST = Counter("outbox_doorbell_lost_total", "Rings that could not be sent")
UNRUNG = Counter("outbox_unrung_looks_total", "Looks of a relay because nobody rang", ["lane"])
THROTTLED = Counter("compensation_throttled_total", "Compensations held back by the global limit")

GATEWAY_REQUESTS = Counter("gateway_requests_total", "Calls of a gateway", ["gateway", "operation", "outcome"])
GATEWAY_SECONDS = Histogram(
    "gateway_request_duration_seconds",
    "Duration of a call of a gateway",
    ["gateway", "operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
)
GATEWAY_THROTTLED = Counter("gateway_throttled_total", "Times that a gateway's limit held messages back", ["gateway"])
BREAKER_OPEN = Gauge(
    "circuit_breaker_open", "Whether a gateway is not called", ["gateway"], multiprocess_mode="mostrecent"
)
BREAKER_BLIND = Counter("circuit_breaker_blind_total", "Calls let pass because Redis was away", ["gateway"])

FINDINGS = Counter("reconciliation_findings_total", "Disagreements put before a person", ["ledger", "kind"])
REPAIRS = Counter("reconciliation_repairs_total", "Late charges and parcels taken back without a person", ["ledger"])
WATCHED = Gauge(
    "reconciliation_watched",
    "Entries of a ledger that may still explain themselves",
    ["ledger"],
    multiprocess_mode="mostrecent",
)
RECONCILED_AT = Gauge(
    "reconciliation_last_complete_timestamp_seconds",
    "When a ledger was last compared to the end",
    ["ledger"],
    multiprocess_mode="mostrecent",
)
