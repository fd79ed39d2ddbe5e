"""The gateway's ledger against our payments: late charges are given back, what nothing explains goes to a person.

A charge that was still on its way when the saga turned back may land after its refund had looked for it and found
nothing. It is told from a stranger's charge by its key: the outbox knows that the step was asked for, and that its
compensation has run. It is given back under the key of that very compensation, so it is the same refund however
often, and by whomever, it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from django.db import transaction

from outbox import ledgers
from outbox.consumers import TransientError
from outbox.ledgers import EXPLAINED, Entry, Found, Recorded, State, TakingBackRefused, Verdict
from outbox.money import to_text
from outbox.outside import UnforeseenAnswer
from outbox.places import NOWHERE, Standing, place_of, standings
from outbox.publishing import Outgoing, publish
from outbox.reconciliation import Report, sweep
from payments import gateways, selectors, services
from payments.contracts import PaymentMismatchFound, PaymentRefunded
from payments.gateways.protocol import Gateway, RefundRefused
from payments.models import LedgerMark, Mismatch, Payment, Refund, Sighting

SOURCE = "payments"
CHARGE = "charge"
REFUND = "refund"
# What the bank must have in its ledger.
_TAKEN = (Payment.Status.CHARGED, Payment.Status.REFUNDED)


def reconcile() -> Report | None:
    """Compare the ledger of the gateway that takes charges with our payments, once; None if it keeps no ledger.

    Raises: TransientError when the ledger cannot be read.
    """
    gateway = gateways.current()
    return sweep(book=BankBook(gateway=gateway)) if gateway.keeps_ledger else None


class BankBook:
    """The ledger of one gateway."""

    marks: ClassVar[type[ledgers.LedgerMark]] = LedgerMark
    sightings: ClassVar[type[ledgers.Sighting]] = Sighting
    mismatches: ClassVar[type[ledgers.Mismatch]] = Mismatch

    def __init__(self, *, gateway: Gateway) -> None:
        self.name = f"{SOURCE}:{gateway.name}"
        self._gateway = gateway

    def read(self, *, since: datetime | None, limit: int) -> Sequence[Entry]:
        """Return the entries made since, oldest first."""
        return self._gateway.entries(since=since, limit=limit)

    def read_orders(self, *, order_ids: Sequence[str]) -> Sequence[Entry]:
        """Return all entries of these orders."""
        return self._gateway.entries(order_ids=order_ids)

    def judge(self, *, entries: Sequence[Entry]) -> list[Verdict]:
        """Return what our rows say of each entry, in order."""
        plain = [self._explain(seen) for seen in selectors.see(entries=entries)]
        doubtful = [entry for entry, verdict in zip(entries, plain, strict=True) if verdict is None]
        if not doubtful:
            return [verdict or EXPLAINED for verdict in plain]
        # The outbox first: what a command led to is in the rows once its delivery is gone.
        known = standings(keys={entry.key for entry in doubtful}, consumer=SOURCE)
        verdicts = iter(
            self._explain(doubt) or self._doubt(doubt, known.get(doubt.entry.key, NOWHERE))
            for doubt in selectors.see(entries=doubtful)
        )
        return [verdict or next(verdicts) for verdict in plain]

    def _explain(self, seen: selectors.Seen) -> Verdict | None:
        """Return what a row of ours says of the entry; None if there is none that says the same thing."""
        entry, row = seen.entry, seen.payment if seen.entry.kind == CHARGE else seen.refund
        if row is None or (isinstance(row, Payment) and row.status not in _TAKEN):
            return None
        if (row.amount, row.currency, str(row.order_id)) == (entry.amount, entry.currency, entry.order_id):
            return EXPLAINED
        ours = _money(row.amount, row.currency)
        return Verdict(State.WRONG, f"{entry.kind}_differs", f"{_say(entry)}; we have {ours} of order {row.order_id}")

    def _doubt(self, seen: selectors.Seen, standing: Standing) -> Verdict:
        entry = seen.entry
        if entry.kind == REFUND:
            return _watch(entry, standing, "refund_unexplained", "nothing of ours asked for it")
        place = place_of(entry.key)
        asked = standing.command
        if place is None or asked is None or str(place.order_id) != entry.order_id:
            return _watch(entry, standing, "charge_unexplained", "nothing of ours asked for it")
        if (asked.get("amount"), asked.get("currency")) != (entry.amount, entry.currency):
            wanted = _money(int(asked.get("amount", 0)), str(asked.get("currency")))
            return Verdict(State.WRONG, "charge_differs", f"{_say(entry)}; we asked for {wanted}")
        declined = seen.payment is not None and seen.payment.status == Payment.Status.DECLINED
        if standing.is_undone and not standing.is_waiting and not declined:
            return Verdict(State.LATE, detail=f"{_say(entry)} after its order had turned back")
        if declined:
            return _watch(entry, standing, "charge_unexplained", "its answer was that it is declined")
        if seen.other_charge:
            return _watch(entry, standing, "second_charge", f"the order was charged already: {seen.other_charge}")
        return _watch(entry, standing, "charge_unexplained", "we never learned of it")

    def take_back(self, *, entry: Entry) -> bool:
        """Give a late charge back under the key of its compensation, and record both."""
        place = place_of(entry.key)
        assert place is not None  # noqa: S101 - only a charge with a place of ours is judged to be late
        try:
            answer = services.refund_payment(
                key=place.compensation_key, order_id=place.order_id, charge_key=entry.key, is_retry=False
            )
        except (RefundRefused, UnforeseenAnswer) as refusal:
            raise TakingBackRefused(str(refusal)) from refusal
        if not isinstance(answer, services.Refunded):
            raise TransientError("the gateway shows the charge in its ledger and does not find it by its key")
        with transaction.atomic():
            is_new = bool(services.record_refunds(refunds=[(place.order_id, answer)]))
            if is_new:
                refunded = PaymentRefunded(
                    order_id=place.order_id,
                    amount=answer.charge.amount,
                    currency=answer.charge.currency,
                    reference=answer.refund.reference,
                )
                # A fact, and no reply: the command was answered long ago.
                publish([Outgoing(data=refunded, source=SOURCE, subject=place.order_id)])
        return is_new

    def recorded(self, *, since: datetime | None) -> Sequence[Recorded]:
        """Return the charges and refunds that we recorded since."""
        charges = selectors.list_changed_payments(gateway=self._gateway.name, statuses=_TAKEN, since=since)
        refunds = selectors.list_refunds_since(gateway=self._gateway.name, since=since)
        return [*(_must_have(CHARGE, row) for row in charges), *(_must_have(REFUND, row) for row in refunds)]

    def tell(self, *, found: Sequence[Found]) -> None:
        """Publish what a person must settle."""
        publish([Outgoing(data=_mismatch(one), source=SOURCE, subject=one.subject) for one in found])


def book_of(*, gateway: str) -> BankBook | None:
    """Return the ledger of a gateway by its name, or None when it keeps none. Raises: KeyError."""
    known = gateways.named(gateway)
    return BankBook(gateway=known) if known.keeps_ledger else None


def _watch(entry: Entry, standing: Standing, finding: str, why: str) -> Verdict:
    # While a command is on its way it may explain the entry; how long that takes is for its own deadline to say.
    if standing.is_waiting or standing.is_busy:
        return Verdict(State.OPEN)
    return Verdict(State.OPEN, finding, f"{_say(entry)}; {why}")


def _say(entry: Entry) -> str:
    verb = "charged" if entry.kind == CHARGE else "refunded"
    return f"the gateway {verb} {_money(entry.amount, entry.currency)}"


def _money(amount: int, currency: str) -> str:
    return f"{to_text(minor_units=amount, currency=currency)} {currency}"


def _must_have(kind: str, row: Payment | Refund) -> Recorded:
    return Recorded(
        kind=kind,
        key=row.key,
        order_id=str(row.order_id),
        finding=f"{kind}_missing",
        detail=f"we recorded a {kind} of {_money(row.amount, row.currency)} that the ledger lacks",
    )


def _mismatch(found: Found) -> PaymentMismatchFound:
    return PaymentMismatchFound(
        order_id=found.subject,
        finding=found.finding,
        key=found.key,
        detail=found.detail,
        amount=found.amount,
        currency=found.currency,
    )
