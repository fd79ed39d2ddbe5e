"""Failure groups: cases that are open for the same reason, with a title in plain words and a runbook.

A case's fingerprint says which group it belongs to. What puts a fingerprint on a case is listed here once, so that each
kind of failure that the product can have has words and a runbook of its own; whatever is new is named after its error.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse

from outbox.contracts import COMPENSATION
from sagas.models import Case


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of failure: what it means to customer and money in one sentence, and which runbook tells what to do."""

    means: str
    runbook: str


@dataclass(frozen=True, slots=True)
class Group:
    """Cases with one fingerprint, which is the key."""

    key: str
    title: str
    runbook: str
    means: str

    @property
    def runbook_url(self) -> str:
        """Where the runbook is read: at the desk itself, or where `RUNBOOKS_URL` says."""
        return runbook_url(self.runbook)


REFUND_REFUSED = Kind("The customer's money is still with the bank, and the order cannot be closed.", "refund-refused")
NO_ANSWER = Kind("It may have happened or not: the other side never said. Its key finds out.", "no-answer")
DEADLINE = Kind("Nobody knows whether it happened, and the order waits.", "deadline-passed")
STEP_REFUSED = Kind("The other side said no for good, at a point where the order cannot turn back.", "step-refused")
DISAGREE = Kind("Two sides tell different stories; to send it again blindly may cost money.", "sides-disagree")
UNREADABLE = Kind("This release cannot read the message; nothing was done with it.", "unreadable-message")
BUG = Kind("Our own code failed; nothing of this message was done here.", "handler-bug")
LOCK = Kind("The order waits until another saga of the same order has ended.", "semantic-lock")
UNEXPLAINED_CHARGE = Kind("The bank has money of a customer that no order of ours explains.", "unexplained-charge")
MISSING = Kind("We recorded something that the other side's ledger does not have.", "ledger-entry-missing")
DIFFERS = Kind("The bank's ledger and ours name different amounts.", "ledger-entry-differs")
DISPUTED = Kind("The customer asks the bank for the money; there is a time limit to answer.", "disputed-charge")
PARCEL = Kind("A parcel is on its way that should not be, or is not that should.", "unwanted-parcel")
AUDIT = Kind("Rows of ours, or of the bank or the carrier, contradict each other.", "audit-finding")

# By error class: what a message died of, that a person can name.
ERRORS: dict[str, tuple[str, Kind]] = {
    "RefundRefused": ("The bank refuses to give the money back", REFUND_REFUSED),
    "TransientError": ("No answer from {place} until the attempts were spent", NO_ANSWER),
    "NothingDone": ("{place} could not be reached until the attempts were spent", NO_ANSWER),
    "LeaseOver": ("{place} took longer than a lease, time after time", NO_ANSWER),
    "NoOutcome": ("The workers of {place} ended without an outcome, time after time", NO_ANSWER),
    "UnforeseenAnswer": ("{place} got an answer that nobody foresaw", DISAGREE),
    "LedgersDisagree": ("The bank gave back money for a charge that is recorded as declined", DISAGREE),
    "TakingBackRefused": ("The other side will not take back what came too late", DISAGREE),
    "MisdirectedOrder": ("An order is not in the status that the saga takes it to be in", DISAGREE),
    "ValidationError": ("{place} cannot read a message: a field is not as its schema says", UNREADABLE),
    "DecodeError": ("{place} cannot read a message", UNREADABLE),
    "NoHandler": ("{place} has no handler for a message", UNREADABLE),
    "UnroutedMessage": ("{place} gave an answer that this release does not know", UNREADABLE),
    "UnknownDefinition": ("This release has lost a version of a saga that is in flight", UNREADABLE),
    "InventoryFailed": ("Inventory refuses: {reason}", STEP_REFUSED),
    "PaymentFailed": ("Payments refuses: {reason}", STEP_REFUSED),
    "ShipmentFailed": ("Shipping refuses: {reason}", STEP_REFUSED),
    "OrderConfirmRefused": ("Orders refuses to confirm: {reason}", STEP_REFUSED),
}
# By fingerprint: what a ledger tells against ours, as payments and shipping name it.
FINDINGS: dict[str, tuple[str, Kind]] = {
    "charge_unexplained": ("The bank charged, and nothing of ours asked for it", UNEXPLAINED_CHARGE),
    "second_charge": ("The bank charged an order a second time", UNEXPLAINED_CHARGE),
    "late_charge_refused": ("A charge came too late, and the bank will not give it back", UNEXPLAINED_CHARGE),
    "charge_missing": ("The bank's ledger lacks a charge that we recorded", MISSING),
    "refund_missing": ("The bank's ledger lacks a refund that we recorded", MISSING),
    "parcel_missing": ("The carrier's ledger lacks a parcel that we recorded", MISSING),
    "charge_differs": ("The bank's charge is not the one that we asked for", DIFFERS),
    "refund_differs": ("The bank's refund is not the one that we asked for", DIFFERS),
    "refund_unexplained": ("The bank gave money back that nothing of ours asked for", DIFFERS),
    "disputed": ("A customer disputes a charge at the bank", DISPUTED),
    "parcel_unexplained": ("The carrier has a parcel that nothing of ours asked for", PARCEL),
    "second_parcel": ("The carrier has more than one parcel for an order", PARCEL),
    "parcel_stopped": ("The carrier stopped a parcel that should go out", PARCEL),
    "late_shipment_refused": ("A parcel came too late, and the carrier will not stop it", PARCEL),
}
SEMANTIC_LOCK = "semantic-lock"
DEADLINE_MARK = "deadline:"
AUDIT_MARK = "audit:"
# How people call what a destination's name means.
PLACES = {
    "payments": "the bank's side (payments)",
    "shipping": "the carrier's side (shipping)",
    "notifications": "the mail to customers (notifications)",
}
# Every runbook that a group may lead to.
RUNBOOKS = frozenset(
    kind.runbook
    for kind in (
        *(kind for _, kind in (*ERRORS.values(), *FINDINGS.values())),
        *(BUG, LOCK, DEADLINE, AUDIT),
    )
)


def group_of(case: Case) -> Group:
    """Return the group of a case; no query."""
    title, kind = _describe(case)
    return Group(case.fingerprint, title[0].upper() + title[1:], kind.runbook, kind.means)


def runbook_url(name: str) -> str:
    """Return the address of a runbook: on the desk, or below `RUNBOOKS_URL` as a file of that name."""
    if settings.RUNBOOKS_URL:
        return f"{settings.RUNBOOKS_URL.rstrip('/')}/{name}.md"
    return reverse("desk:runbook", args=[name])


def _describe(case: Case) -> tuple[str, Kind]:
    mark = case.fingerprint
    if mark == SEMANTIC_LOCK:
        return "A saga waits for another one of the same order", LOCK
    if mark in FINDINGS:
        return FINDINGS[mark]
    if mark.startswith(AUDIT_MARK):
        return f"The consistency audit found a contradiction ({mark.removeprefix(AUDIT_MARK)})", AUDIT
    if mark.startswith(DEADLINE_MARK):
        what = "undoing" if case.direction == COMPENSATION else "the step"
        return f"No answer in time: {what} {case.step or mark.rpartition(':')[2]}", DEADLINE
    if case.error_class in ERRORS:
        title, kind = ERRORS[case.error_class]
        words = title.format(place=_place(case), reason=case.error.partition(":")[0].replace("_", " "))
        return f"{words}{_where(case)}", kind
    return f"{case.error_class or 'An error'} in {_place(case)}{_where(case)}", BUG


def _place(case: Case) -> str:
    return PLACES.get(case.destination, case.destination or "an unknown place")


def _where(case: Case) -> str:
    """Return which step it is about, where that tells two groups apart."""
    if not case.step:
        return ""
    return f", undoing {case.step}" if case.direction == COMPENSATION else f", step {case.step}"
