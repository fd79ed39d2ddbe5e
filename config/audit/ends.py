"""I4, ends: every saga and every order has ended, is on its way, or waits for a person who knows of it."""

from __future__ import annotations

from config.audit.checks import GRACE, Check

CHECKS = (
    Check(
        "I4",
        "no saga is forgotten",
        "SELECT s.key, s.name || ' ' || s.status || ' since ' || s.updated_at FROM sagas_sagainstance s "
        "WHERE s.status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED') AND "
        f"((s.status <> 'SUSPENDED' AND (s.due_at IS NULL OR s.due_at < (SELECT at FROM audit_clock) - {GRACE})) "
        "OR (s.status = 'SUSPENDED' AND NOT EXISTS "
        "(SELECT FROM sagas_case c WHERE c.saga_id = s.id AND c.status = 'OPEN')))",
    ),
    Check(
        "I4",
        "no order is forgotten",
        "SELECT o.id, o.status || ' since ' || o.updated_at FROM audit_scope c JOIN orders_order o ON o.id = c.key "
        "WHERE o.status IN ('PENDING', 'CANCELLING', 'RETURNING') "
        "AND NOT EXISTS (SELECT FROM sagas_sagainstance s WHERE s.key = o.id "
        "AND s.status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED', 'ABANDONED')) "
        "AND NOT EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = o.id) "
        "AND NOT EXISTS (SELECT FROM sagas_case c WHERE c.key = o.id AND (c.status = 'OPEN' "
        "OR c.resolution IN ('resolved', 'skipped', 'abandoned')))",
    ),
    Check(
        "I4",
        "a saga that has ended leaves nothing behind",
        "SELECT s.key, s.name || ' ' || s.status || ' with ' || string_agg(step.name || ' ' || "
        "coalesce(step.state ->> 'status', 'PENDING'), ', ' ORDER BY step.name) "
        "FROM audit_scope c JOIN sagas_sagainstance s ON s.key = c.key "
        "CROSS JOIN LATERAL jsonb_each(s.steps) AS step(name, state) "
        "WHERE (coalesce(step.state ->> 'status', 'PENDING') NOT IN ('SUCCEEDED', 'SKIPPED', 'RESOLVED') "
        "AND (s.status = 'COMPLETED' OR (s.status = 'COMPENSATED' AND step.name = 'close'))) "
        "OR (s.status = 'COMPENSATED' AND step.name <> 'close' AND step.state ->> 'status' "
        "IN ('RUNNING', 'SUCCEEDED', 'UNKNOWN', 'COMPENSATING', 'STUCK')) "
        "GROUP BY s.id, s.key, s.name, s.status",
    ),
    Check(
        "I4",
        "an end has its time",
        "SELECT s.key, s.name || ' ' || s.status || ', ended at ' || coalesce(s.ended_at::text, 'no time') "
        "FROM audit_scope c JOIN sagas_sagainstance s ON s.key = c.key "
        "WHERE (s.status IN ('COMPLETED', 'COMPENSATED', 'ABANDONED')) <> (s.ended_at IS NOT NULL)",
    ),
)
