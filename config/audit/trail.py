"""I7, trail: whatever a saga, a relay or a person did is in a log that nobody can change."""

from __future__ import annotations

from config.audit.checks import Check
from outbox.consumers import MADE_ANEW, OUTAGE

# How a step's name goes over the wire: an operator's new attempt has a number.
_WIRE = """step.name ||
CASE WHEN jsonb_exists(step.state, 'generation') THEN '~' || (step.state ->> 'generation') ELSE '' END"""
# The steps of the sagas in scope whose messages are still in the log.
_STEPS = """audit_scope c JOIN sagas_sagainstance s ON s.key = c.key
AND s.started_at > (SELECT remembered FROM audit_clock)
CROSS JOIN LATERAL jsonb_each(s.steps) AS step(name, state)"""
# The tables that nothing may be taken from, with the triggers that see to it.
_LOGS = """(VALUES ('outbox_message', 'outbox_append_only'), ('outbox_message', 'outbox_no_truncate'),
('outbox_attempt', 'outbox_append_only'), ('outbox_attempt', 'outbox_no_truncate'),
('outbox_gateway_call', 'outbox_append_only'), ('outbox_gateway_call', 'outbox_no_truncate'),
('sagas_casenote', 'sagas_append_only'), ('sagas_casenote', 'sagas_no_truncate'),
('sagas_operatoraction', 'sagas_append_only'), ('sagas_operatoraction', 'sagas_no_truncate'))"""

CHECKS = (
    Check(
        "I7",
        "every step that succeeded has its reply in the log",
        f"SELECT s.key, s.name || ': ' || step.name || ' is ' || (step.state ->> 'status') || ', and nobody said ' || "
        f"known.success FROM {_STEPS} JOIN audit_step known ON known.saga = s.name AND known.version = s.version "
        "AND known.step = step.name AND known.direction = coalesce(step.state ->> 'direction', 'action') "
        "WHERE step.state ->> 'status' IN ('SUCCEEDED', 'COMPENSATED') "
        "AND NOT EXISTS (SELECT FROM outbox_message m WHERE m.ordering_key = s.key AND m.correlation_id = s.id "
        f"AND m.type = known.success AND m.headers ->> 'step' = {_WIRE} "
        "AND m.headers ->> 'direction' = known.direction)",
    ),
    Check(
        "I7",
        "every step that began has its command in the log",
        f"SELECT s.key, s.name || ': ' || step.name || ' began at ' || (step.state ->> 'started_at') || ', and nobody "
        f"said ' || known.command FROM {_STEPS} JOIN audit_step known ON known.saga = s.name "
        "AND known.version = s.version AND known.step = step.name "
        "AND known.direction = coalesce(step.state ->> 'direction', 'action') WHERE step.state ->> 'started_at' <> '' "
        "AND NOT EXISTS (SELECT FROM outbox_message m WHERE m.ordering_key = s.key AND m.correlation_id = s.id "
        f"AND m.type = known.command AND m.headers ->> 'step' = {_WIRE} "
        "AND m.headers ->> 'direction' = known.direction)",
    ),
    Check(
        "I7",
        "what a person decided is in the operator log",
        f"SELECT s.key, s.name || ': ' || step.name || ' is ' || (step.state ->> 'status') FROM {_STEPS} "
        "JOIN (VALUES ('SKIPPED', 'skip'), ('RESOLVED', 'resolve')) AS by_hand(status, action) "
        "ON by_hand.status = step.state ->> 'status' WHERE NOT EXISTS (SELECT FROM sagas_operatoraction a "
        "WHERE a.saga_id = s.id AND a.action = by_hand.action) "
        "UNION ALL SELECT s.key, s.name || ' is ' || trim(s.status || ' ' || s.reason) FROM audit_scope c "
        "JOIN sagas_sagainstance s ON s.key = c.key JOIN (VALUES ('ABANDONED', '', 'abandon'), "
        "('', 'cancelled_by_operator', 'compensate')) AS by_hand(status, reason, action) "
        "ON by_hand.status = s.status OR by_hand.reason = nullif(s.reason, '') "
        "WHERE NOT EXISTS (SELECT FROM sagas_operatoraction a WHERE a.saga_id = s.id AND (a.action = by_hand.action "
        "OR by_hand.action = 'compensate' AND a.action = 'cancel')) "
        "AND (by_hand.action = 'abandon' OR NOT EXISTS (SELECT FROM outbox_message m "
        "WHERE m.ordering_key = s.key AND m.type = 'order.cancel_requested'))",
    ),
    Check(
        "I7",
        "every case that a person closed is in the operator log",
        "SELECT c.key, 'case ' || c.id || ' was ' || c.resolution FROM sagas_case c "
        "WHERE c.status = 'CLOSED' AND c.resolution <> 'recovered' AND c.closed_at >= (SELECT since FROM audit_clock) "
        "AND NOT EXISTS (SELECT FROM sagas_operatoraction a "
        "WHERE a.case_id = c.id OR (a.saga_id = c.saga_id AND a.action <> 'approve'))",
    ),
    Check(
        "I7",
        "every failed attempt is in the log of attempts",
        "SELECT d.ordering_key, d.type || ' to ' || d.destination || ' has failed: ' || d.error_class "
        "FROM outbox_delivery d WHERE d.attempts > 0 "
        # Outages burn no attempts, and are told of once and not by message.
        # What a person has had made anew has not failed yet; what had failed before is told of the attempts before.
        f"AND d.error_class NOT IN ('', '{OUTAGE}', '{MADE_ANEW}') AND NOT EXISTS ("
        "SELECT FROM outbox_attempt a WHERE a.ordering_key = d.ordering_key AND a.message_id = d.message_id "
        "AND a.destination = d.destination AND (d.dead_at IS NULL OR a.decision = 'dead'))",
    ),
    Check(
        "I7",
        "the logs are append-only",
        f"SELECT l.log, l.guard || ' is ' || coalesce('switched to ' || t.tgenabled::text, 'gone') FROM {_LOGS} "
        "AS l(log, guard) LEFT JOIN pg_trigger t ON t.tgrelid = to_regclass(l.log) AND t.tgname = l.guard "
        "WHERE t.tgenabled IS DISTINCT FROM 'A' "
        "UNION ALL SELECT p.relname, g.guard || ' is ' || coalesce('switched to ' || t.tgenabled::text, 'gone') "
        "FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid "
        "CROSS JOIN (VALUES ('outbox_append_only'), ('outbox_no_truncate')) AS g(guard) "
        "LEFT JOIN pg_trigger t ON t.tgrelid = p.oid AND t.tgname = g.guard "
        "WHERE i.inhparent = 'outbox_message'::regclass AND t.tgenabled IS DISTINCT FROM 'A'",
    ),
)
