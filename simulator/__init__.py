"""The bank and the carrier that stand in for systems this product does not own.

One small process with a durable ledger of its own. It imports nothing from the rest of the project, so that
its ledger is a witness from outside: what it says happened, happened, whatever the product's tables claim.
"""
