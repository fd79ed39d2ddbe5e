"""What a check is, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass

# Two sweeps may be late, and a worker between two transactions, before something counts as forgotten.
GRACE = "interval '60 seconds'"
# The bank or the carrier may act after we gave a call up: what is younger than this is reconciliation's to settle.
IS_LATE = "> (SELECT late_from FROM audit_clock)"

# What a person has in hand, or has settled another way: he answers for it, in the operator log. A case about a letter
# or a report says nothing about money, goods or the order.
IN_A_PERSONS_HANDS = """EXISTS (
    SELECT FROM sagas_case c WHERE c.key = {key} AND c.destination NOT IN ('notifications', 'analytics')
    AND (c.status = 'OPEN' OR c.resolution IN ('resolved', 'skipped', 'abandoned')))"""


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: which invariant, what it says, and the statement that finds offenders as (key, detail).

    The statement may read the tables of `config.audit.scope`. With `whole` it reads all of the table of that name; a
    look at what has changed leaves it out once the table is large.
    """

    invariant: str
    says: str
    statement: str
    needs_ledgers: bool = False
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One offence. `key` is what it concerns: the id of an order, mostly, else a SKU, a saga, a table or a day."""

    invariant: str
    says: str
    key: str
    detail: str
