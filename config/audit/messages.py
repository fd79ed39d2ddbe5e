"""I5, messages: whatever was changed was said, whatever was said is so, and everybody has heard it once, in order."""

from __future__ import annotations

from config.audit.checks import GRACE, Check
from outbox.replacing import REPLACES

# What was said within the window, and is not so old that its traces may be gone. Index: primary key of each partition.
SAID = """(SELECT m.* FROM outbox_message m
WHERE m.id >= (SELECT low FROM audit_clock) AND m.time >= (SELECT since FROM audit_clock))"""
# Tried in vain, or taken back: the log of attempts says so.
_IS_GIVEN_UP = """EXISTS (SELECT FROM outbox_attempt a WHERE a.ordering_key = m.ordering_key AND a.message_id = m.id
AND a.decision IN ('dead', 'given_up', 'withdrawn'))"""
_SAID_OF_ORDER = "EXISTS (SELECT FROM outbox_message m WHERE m.ordering_key = {key} AND m.type = {type})"
# A relay that is behind for so long is no relay.
_TOO_LONG = "interval '5 minutes'"
# While a person has paused its destination, a message is not forgotten; nor right after, while all of it drains.
_IS_PAUSED = """EXISTS (SELECT FROM outbox_pause p WHERE p.destination = d.destination
AND (NOT p.compensations_only OR d.lane = 'compensations')
AND (p.resumed_at IS NULL OR p.resumed_at > (SELECT at FROM audit_clock) - {too_long}))"""
# Redeliveries that a person asked for are no disorder; they come long after the message. Nor is an edited copy, which
# has the place in the order of the message that it stands for, and not that of its own number.
_LIVE_DELIVERY = "interval '10 minutes'"
# The clock of a transaction is that of its beginning, so two in a row may seem to overlap.
_OVERLAP = "interval '1 second'"

CHECKS = (
    Check(
        "I5",
        "every change of an order was said",
        "SELECT o.id, o.status || ', and nobody said ' || told.type FROM audit_scope s "
        "JOIN orders_order o ON o.id = s.key JOIN (VALUES "
        "('CONFIRMED', 'order.confirmed'), ('CANCELLING', 'order.cancel_requested'), ('CANCELLED', 'order.cancelled'), "
        "('RETURNING', 'order.confirmed'), ('RETURNING', 'order.return_requested'), ('RETURNED', 'order.returned'), "
        "('PENDING', 'order.created'), ('CONFIRMED', 'order.created'), ('CANCELLED', 'order.created')) "
        "AS told(status, type) ON told.status = o.status "
        "WHERE o.placed_at > (SELECT remembered FROM audit_clock) "
        f"AND NOT {_SAID_OF_ORDER.format(key='o.id', type='told.type')}",
    ),
    Check(
        "I5",
        "every reservation was said",
        "SELECT s.key, r.sku || ' is ' || r.status || ', and nobody said ' || told.type FROM audit_scope s "
        "JOIN inventory_reservation r ON r.order_id = s.key JOIN (VALUES ('held', 'inventory.reserved'), "
        "('released', 'inventory.released')) AS told(status, type) ON told.status = r.status "
        "WHERE coalesce(r.released_at, r.reserved_at) > (SELECT remembered FROM audit_clock) "
        f"AND NOT {_SAID_OF_ORDER.format(key='s.key', type='told.type')}",
    ),
    Check(
        "I5",
        "every payment was said",
        "SELECT j.id, p.key || ' is ' || p.status || ', and nobody said ' || told.type FROM audit_judged j "
        "JOIN payments_payment p ON p.order_id = j.id JOIN (VALUES ('charged', 'payment.charged'), "
        "('refunded', 'payment.refunded')) AS told(status, type) ON told.status = p.status "
        "WHERE p.updated_at > (SELECT remembered FROM audit_clock) "
        f"AND NOT {_SAID_OF_ORDER.format(key='j.id', type='told.type')}",
    ),
    Check(
        "I5",
        "every shipment was said",
        "SELECT j.id, p.key || ' is ' || p.status || ', and nobody said ' || told.type FROM audit_judged j "
        "JOIN shipping_shipment p ON p.order_id = j.id JOIN (VALUES ('created', 'shipment.created'), "
        "('cancelled', 'shipment.cancelled')) AS told(status, type) ON told.status = p.status "
        "WHERE p.updated_at > (SELECT remembered FROM audit_clock) "
        f"AND NOT {_SAID_OF_ORDER.format(key='j.id', type='told.type')}",
    ),
    Check(
        "I5",
        "what was said is so",
        f"SELECT m.ordering_key, m.type || ', but the order is ' || coalesce(o.status, 'not there') FROM {SAID} m "
        "LEFT JOIN orders_order o ON o.id = m.ordering_key WHERE CASE m.type "
        "WHEN 'order.created' THEN o.id IS NULL "
        "WHEN 'order.confirmed' THEN coalesce(o.status, '') NOT IN ('CONFIRMED', 'RETURNING', 'RETURNED') "
        "WHEN 'order.cancelled' THEN o.status IS DISTINCT FROM 'CANCELLED' "
        "WHEN 'order.returned' THEN o.status IS DISTINCT FROM 'RETURNED' END "
        f"UNION ALL SELECT m.ordering_key, m.type || ', but no row of its context agrees' FROM {SAID} m "
        "WHERE CASE m.type "
        "WHEN 'inventory.reserved' THEN NOT EXISTS "
        "(SELECT FROM inventory_reservation r WHERE r.order_id = m.ordering_key) "
        "WHEN 'inventory.released' THEN EXISTS "
        "(SELECT FROM inventory_reservation r WHERE r.order_id = m.ordering_key AND r.status = 'held') "
        "WHEN 'payment.charged' THEN NOT EXISTS "
        "(SELECT FROM payments_payment p WHERE p.order_id = m.ordering_key AND p.status IN ('charged', 'refunded')) "
        "WHEN 'shipment.created' THEN NOT EXISTS "
        "(SELECT FROM shipping_shipment p WHERE p.order_id = m.ordering_key AND p.status IN ('created', 'cancelled')) "
        "END",
    ),
    Check(
        "I5",
        "every message waits or was handled",
        "WITH first AS (SELECT r.destination, r.type, min(m.sequence) AS sequence "
        f"FROM {SAID} m JOIN audit_route r ON r.type = m.type "
        "JOIN outbox_inbox i ON i.consumer = r.destination AND i.message_id = m.id GROUP BY r.destination, r.type) "
        "SELECT m.ordering_key, m.type || ' ' || m.id || ' has not reached ' || r.destination "
        f"FROM {SAID} m JOIN audit_route r ON r.type = m.type "
        # A consumer that was added to an event has not heard what was said before.
        "LEFT JOIN first f ON f.destination = r.destination AND f.type = r.type "
        "WHERE m.sequence >= coalesce(f.sequence, 0) "
        "AND NOT EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = m.ordering_key "
        "AND d.destination = r.destination AND d.message_id = m.id) "
        "AND NOT CASE WHEN m.kind = 'command' AND m.correlation_id IS NOT NULL AND jsonb_exists(m.headers, 'step') "
        "THEN EXISTS (SELECT FROM outbox_barrier b WHERE b.saga_id = m.correlation_id "
        "AND b.step = m.headers ->> 'step' AND b.direction = m.headers ->> 'direction') "
        "ELSE EXISTS (SELECT FROM outbox_inbox i WHERE i.consumer = r.destination AND i.message_id = m.id) END "
        f"AND NOT {_IS_GIVEN_UP}",
    ),
    Check(
        "I5",
        "every beginning has begun its saga",
        f"SELECT m.ordering_key, m.type || ' has not begun ' || st.saga FROM {SAID} m "
        "JOIN audit_starter st ON st.type = m.type "
        "LEFT JOIN sagas_sagainstance s ON s.key = m.ordering_key AND s.name = st.saga WHERE s.id IS NULL "
        "AND NOT EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = m.ordering_key "
        "AND d.destination = 'sagas' AND d.message_id = m.id) "
        "AND NOT EXISTS (SELECT FROM sagas_case c WHERE c.key = m.ordering_key AND c.message_id = m.id)",
    ),
    Check(
        "I5",
        "every reply was heard by its saga",
        f"SELECT m.ordering_key, m.type || ' ' || m.id || ' was not heard: ' || (m.headers ->> 'step') || ' is ' || "
        f"(step.state ->> 'status') FROM {SAID} m JOIN sagas_sagainstance s ON s.id = m.correlation_id "
        "CROSS JOIN LATERAL (SELECT s.steps -> split_part(m.headers ->> 'step', '~', 1) AS state) step "
        "WHERE m.kind = 'event' AND s.status IN ('RUNNING', 'COMPENSATING') "
        "AND step.state ->> 'status' IN ('RUNNING', 'COMPENSATING') "
        "AND coalesce(step.state ->> 'direction', 'action') = m.headers ->> 'direction' "
        "AND coalesce(step.state ->> 'generation', '1') = "
        "coalesce(nullif(split_part(m.headers ->> 'step', '~', 2), ''), '1') "
        "AND m.time >= (step.state ->> 'started_at')::timestamptz "
        "AND NOT EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = m.ordering_key "
        "AND d.destination = 'sagas' AND d.message_id = m.id)",
    ),
    Check(
        "I5",
        "every dead letter has a case",
        "SELECT d.ordering_key, d.type || ' to ' || d.destination || ': ' || d.error FROM outbox_delivery d "
        f"WHERE d.dead_at < (SELECT at FROM audit_clock) - {GRACE} AND NOT EXISTS "
        "(SELECT FROM sagas_case c WHERE c.status = 'OPEN' "
        "AND (c.message_id = d.message_id OR c.key = d.ordering_key)) "
        "AND NOT EXISTS (SELECT FROM outbox_delivery n WHERE n.ordering_key = d.ordering_key "
        "AND n.destination = 'sagas' AND n.type = 'message.dead_lettered' AND n.dead_at IS NULL)",
    ),
    Check(
        "I5",
        "nothing is due for too long, or never",
        "SELECT d.ordering_key, d.type || ' to ' || d.destination || ' is due since ' || d.available_at "
        "FROM outbox_delivery d WHERE d.dead_at IS NULL "
        f"AND (d.available_at < (SELECT at FROM audit_clock) - {_TOO_LONG} "
        "OR d.available_at > (SELECT at FROM audit_clock) + interval '1 day') "
        f"AND NOT {_IS_PAUSED.format(too_long=_TOO_LONG)} "
        "AND NOT EXISTS (SELECT FROM outbox_delivery e WHERE e.ordering_key = d.ordering_key "
        "AND e.destination = d.destination AND e.id < d.id)",
    ),
    Check(
        "I5",
        "each consumer has heard of an order in order",
        "SELECT h.ordering_key, h.type || ' ' || h.id || ' was handled by ' || h.consumer || ' at ' || h.at || "
        "', after a later one' FROM (SELECT m.ordering_key, m.type, m.id, i.consumer, i.at, m.time, "
        "lead(i.at) OVER (PARTITION BY i.consumer, m.ordering_key ORDER BY m.sequence) AS next_at "
        f"FROM {SAID} m JOIN audit_route r ON r.type = m.type "
        "JOIN outbox_inbox i ON i.consumer = r.destination AND i.message_id = m.id "
        f"WHERE NOT {_IS_GIVEN_UP} AND NOT jsonb_exists(m.headers, '{REPLACES}')) h "
        f"WHERE h.at > h.next_at + {_OVERLAP} AND h.at < h.time + {_LIVE_DELIVERY}",
    ),
    Check(
        "I5",
        "no place at the barrier stays open",
        f"SELECT m.ordering_key, (m.headers ->> 'step') || ' (' || (m.headers ->> 'direction') || ') has no outcome, "
        f"and its message ' || m.id || ' is gone' FROM {SAID} m "
        "JOIN outbox_barrier b ON b.saga_id = m.correlation_id AND b.step = m.headers ->> 'step' "
        "AND b.direction = m.headers ->> 'direction' AND b.message_id = m.id WHERE NOT b.settled "
        "AND NOT EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = m.ordering_key AND d.message_id = m.id) "
        f"AND NOT {_IS_GIVEN_UP}",
    ),
    Check(
        "I5",
        "each consumer's rows are what it has handled",
        "SELECT s.key, 'e-mail ' || e.message_id || ' (' || e.event || ') is not in the inbox' FROM audit_scope s "
        "JOIN notifications_email e ON e.order_id = s.key WHERE e.sent_at > (SELECT remembered FROM audit_clock) "
        "AND NOT EXISTS (SELECT FROM outbox_inbox i "
        "WHERE i.consumer = 'notifications' AND i.message_id = e.message_id) "
        "UNION ALL SELECT s.key, 'analytics counts it as ' || coalesce(f.outcome, 'nothing') || ', and has handled ' "
        "|| h.outcome FROM audit_scope s CROSS JOIN LATERAL ("
        "SELECT substr(m.type, 7) AS outcome FROM outbox_message m "
        "JOIN outbox_inbox i ON i.consumer = 'analytics' AND i.message_id = m.id "
        "WHERE m.ordering_key = s.key AND m.time > (SELECT remembered FROM audit_clock) "
        "ORDER BY m.sequence DESC LIMIT 1) h "
        "LEFT JOIN analytics_orderfact f ON f.order_id = s.key WHERE f.outcome IS DISTINCT FROM h.outcome",
    ),
    Check(
        "I5",
        "each order is counted once per outcome",
        "SELECT coalesce(d.outcome, f.outcome) || ' ' || coalesce(d.currency, f.currency), "
        "'the days add up to ' || coalesce(d.orders, 0) || ' orders, ' || coalesce(d.amount, 0) || "
        "', the orders to ' || coalesce(f.orders, 0) || ', ' || coalesce(f.amount, 0) "
        "FROM (SELECT outcome, currency, sum(orders) AS orders, sum(amount) AS amount FROM analytics_ordersperday "
        "GROUP BY outcome, currency) d FULL JOIN (SELECT reached.outcome, o.currency, count(*) AS orders, "
        "sum(o.amount) AS amount FROM analytics_orderfact o JOIN (VALUES ('created', 'created'), "
        "('confirmed', 'created'), ('cancelled', 'created'), ('returned', 'created'), ('confirmed', 'confirmed'), "
        "('returned', 'confirmed'), ('cancelled', 'cancelled'), ('returned', 'returned')) "
        "AS reached(now, outcome) ON reached.now = o.outcome GROUP BY reached.outcome, o.currency) f "
        "ON f.outcome = d.outcome AND f.currency = d.currency "
        "WHERE (d.orders, d.amount) IS DISTINCT FROM (f.orders, f.amount)",
        whole="analytics_orderfact",
    ),
)
