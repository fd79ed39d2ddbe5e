"""The chaos experiment: real orders on real processes that are killed, cut off and lied to, and then a verdict.

Nothing in here believes the product. What happened is read from the ledgers of the bank and the carrier and from the
clients' own log, and compared with the product's tables. The same orders and the same faults then meet a naive flow
(`bench.naive`), so that the difference is seen and not claimed.
"""
