"""A checkout as many teams have it: commit, then queue the next task; every step in a transaction of its own.

It is not a straw man. It has idempotency keys, guarded stock, late acknowledgement, retries with backoff, a
compensation, and a status for refunds that failed. What it has not is an outbox, an inbox, a barrier, a key that
survives a retry, or anybody who notices what was forgotten. It exists to be measured beside the product and is never
imported by it.
"""
