"""The hot statement of notifications: it records a whole batch of e-mails."""

# Adds rows. Index: primary key of notifications_email.
RECORD_EMAILS = """
INSERT INTO notifications_email (message_id, order_id, event)
SELECT * FROM unnest(%b::uuid[], %b::uuid[], %b::text[]) ON CONFLICT (message_id) DO NOTHING
"""
