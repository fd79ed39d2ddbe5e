"""The stack of one machine: real servers from packages, the product's processes, and the demo.

It exists so that a fresh clone needs nothing but Python. Production never imports it: there, `DATABASE_URL`
and `REDIS_URL` name servers that somebody runs.
"""
