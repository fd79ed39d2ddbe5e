"""What every page of an action tells before it does anything, and how it is carried out, whoever asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from desk import actions
from desk.actions import lookups, outlook
from sagas.engine import Refused
from sagas.models import OperatorAction
from sagas.wanted import StaleView
from tests.factories.cases import deliveries_of, refused_event, refused_refund, running_saga
from tests.integration.desk.late_charge import command_of
from tests.integration.desk.visits import hidden, signed_in, state, text

pytestmark = pytest.mark.django_db

WHY = {"reason": "the customer called"}


def send(client: Client, url: str, **changes: str) -> Any:
    """Open the page, fill it in and send it, as a browser does."""
    page = client.get(url)
    return client.post(url, WHY | {"seen": hidden(page, "seen"), "looked_up": hidden(page, "looked_up")} | changes)


# --- what a preview tells ---


def test_a_preview_names_calls_keys_money_and_what_follows() -> None:
    case = refused_refund()

    page = text(signed_in("retry_case").get(reverse("admin:sagas_case_retry", args=[case.pk])))

    saga = case.saga
    assert saga is not None
    key = f"{saga.key}-{saga.pk}-charge-payment-compensation"
    assert f"at once payment.refund (again) payments → bank: refund {key} refund 12.50 EUR to the customer" in page
    assert "then inventory.release inventory, nobody outside" in page
    assert "At once: refund 12.50 EUR to the customer, as far as it was charged: the bank is asked first." in page
    assert "if everything succeeds it ends COMPENSATED" in page
    assert "Nobody else has to approve it." in page


@pytest.mark.parametrize(
    ("action", "money"),
    [
        ("skip", "12.50 EUR are not given back to the customer by this."),
        ("resolve", "By this no money moves: you say that you gave 12.50 EUR back to the customer by hand."),
        ("abandon", "12.50 EUR are not given back to the customer by this."),
    ],
)
def test_a_preview_says_which_money_does_not_move(action: str, money: str) -> None:
    case = refused_refund()

    page = text(signed_in(f"{action}_case").get(reverse(f"admin:sagas_case_{action}", args=[case.pk])))

    assert money in page


def test_a_preview_says_who_has_to_approve() -> None:
    case = refused_refund()

    page = text(signed_in("abandon_case").get(reverse("admin:sagas_case_abandon", args=[case.pk])))

    assert "Another person who may approve has to agree within 24 hours; nothing is done before that." in page
    assert "Ask for approval: Abandon" in page


def test_a_saga_that_turns_back_is_previewed_to_its_end() -> None:
    saga = running_saga()

    ahead = actions.preview(actions.COMPENSATE, saga=saga)

    assert [(planned.wire_type, planned.later) for planned in ahead.calls] == [
        ("inventory.release", False),
        ("order.cancel", True),
    ]
    assert (ahead.status, ahead.good_end) == ("COMPENSATING", "COMPENSATED")
    assert ahead.money == ["No money moves."]


def test_an_amount_has_the_decimals_of_its_currency() -> None:
    [refund] = [
        planned
        for planned in actions.preview(actions.RETRY, case=refused_refund()).calls
        if planned.wire_type == "payment.refund"
    ]

    assert outlook.amount_of(refund.call.command) == "12.50 EUR"


def test_looking_at_any_action_changes_nothing() -> None:
    case, saga, event = refused_refund(), running_saga(), refused_event()
    message = command_of(event)
    client = signed_in("retry_case", "compensate_saga", "cancel_order", "redeliver_message")
    before = state()

    pages = [
        client.get(reverse("admin:sagas_case_retry", args=[case.pk])),
        client.get(reverse("desk:saga-action", args=[saga.pk, "compensate"])),
        client.get(reverse("desk:order-cancel", args=[saga.key])),
        client.get(reverse("desk:message-redeliver", args=[message.pk])),
    ]

    assert [page.status_code for page in pages] == [200] * 4
    assert state() == before


# --- carried out for a page or a bulk run ---


def test_carry_out_is_one_call_for_whoever_asks() -> None:
    case = refused_refund()

    result = actions.carry_out(
        case=case, action="retry", operator="olga", origin="bulk", reason="r", seen_at=actions.seen_at_of(case)
    )

    case.refresh_from_db()
    entry = OperatorAction.objects.get()
    assert result == "requested"
    assert (case.resolution, entry.operator, entry.origin) == ("retried", "olga", "bulk")


def test_carry_out_refuses_what_has_changed() -> None:
    case = refused_refund()
    seen_at = actions.seen_at_of(case)
    assert seen_at is not None
    earlier = seen_at - timedelta(microseconds=1)
    before = state()

    with pytest.raises(StaleView):
        actions.carry_out(case=case, action="skip", operator="olga", reason="r", seen_at=earlier)

    assert state() == before


def test_a_message_that_was_sent_again_meanwhile_is_not_discarded() -> None:
    """Its case is open again, for another death than the one that was seen."""
    case = refused_event()
    seen_at = actions.seen_at_of(case)
    assert seen_at is not None
    deliveries_of(case).filter(destination="notifications").update(dead_at=None)
    before = state()

    with pytest.raises(StaleView):
        actions.carry_out(case=case, action="resolve", operator="olga", reason="r", reference="T-1", seen_at=seen_at)

    assert state() == before


def test_resolving_a_message_by_hand_needs_its_reference_whoever_asks() -> None:
    case = refused_event()
    before = state()

    with pytest.raises(Refused, match="reference"):
        actions.carry_out(case=case, action="resolve", operator="olga", reason="r")

    assert state() == before


# --- what was looked up ---


def test_what_was_shown_cannot_be_made_up() -> None:
    assert lookups.opened("made:up:here") == ()
    assert list(lookups.opened(lookups.sealed([]))) == []


def test_the_log_keeps_what_bank_and_carrier_said() -> None:
    saga = running_saga()
    case = refused_refund()

    send(signed_in("retry_case"), reverse("admin:sagas_case_retry", args=[case.pk]))

    [bank, carrier] = OperatorAction.objects.get(key=case.key).seen["outside"]
    assert (bank["gateway"], bank["answer"], bank["is_away"]) == ("bank", "no refund is known under this key", False)
    assert bank["key"] == f"{case.key}-{case.saga_id}-charge-payment-compensation"
    assert carrier["gateway"] == "carrier"
    assert not OperatorAction.objects.filter(key=saga.key).exists()
