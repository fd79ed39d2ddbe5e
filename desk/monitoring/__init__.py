"""The monitoring view: what the desk's first page and the gauges of the desk know, measured every 30 seconds.

Looking at the shop must not cost the shop anything: one beat task reads the hot tables, everybody else what it found.
"""
