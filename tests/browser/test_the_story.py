"""Three in the morning: forty orders that cannot be given back, of two kinds, one operator, and a second person.

With `SCREENSHOTS=folder` it keeps a picture of every page that it comes by.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator

import pytest

from tests.browser.troubles import UNANSWERED, bring_the_bank_back, lose_the_bank, open_cases, refuse_refunds
from tests.browser.visitors import ADMIN, Desk, Visitor
from tests.running import running_shop
from tests.shop import Customer, Shop

OF_A_KIND = 20
# Refused for good, and too much for one person alone.
UNLUCKY = {"GRINDER": 3}
FOUR_EYES_AMOUNT = 10_000
REFERENCE = "SEPA-4711"
REFUSAL = "The bank refuses to give the money back"
SILENCE = "No answer in time"
# Each case gets five tries, each try waits for its turn; the machine does other things too.
PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop that notices sooner than others that an answer is overdue."""
    with running_shop(
        name="story",
        customers=60,
        SAGA_DEFINITIONS="tests.browser.impatient",
        OUTAGE_PATIENCE_SECONDS="0",
        FOUR_EYES_AMOUNT=str(FOUR_EYES_AMOUNT),
    ) as shop:
        yield shop


def test_forty_stuck_orders_are_found_understood_handled_and_proved(shop: Shop, desk: Desk) -> None:
    """By people in browsers alone; what bank and carrier do is all that is arranged."""
    customer, unlucky = open_for_business(shop), shop.customer()
    refused = refuse_refunds(shop, orders=OF_A_KIND - 1, for_good=[UNLUCKY], whose=unlucky)
    unanswered = lose_the_bank(shop, orders=OF_A_KIND)
    worst = refused[-1]
    ada, grace = desk.visitor("ada"), desk.visitor("grace")

    find_the_two_groups(desk, ada)
    bring_the_bank_back(shop)
    see_one_group_recover(shop, ada, unanswered)
    claim_the_worst_and_look_ahead(shop, desk, ada, worst)
    run = retry_the_others_in_bulk(shop, desk, ada, worst)
    approve(grace, desk, "Retry", picture="approvals")
    see_it_fail_again(ada, run)
    resolve_by_hand(shop, ada, worst)
    approve(grace, desk, "Resolve by hand")
    shop.wait_until(lambda: open_cases(shop, [*refused, *unanswered]) == {}, seconds=PATIENCE_SECONDS)

    assert unlucky.end_of(worst) == "CANCELLED shipping_refused"
    ends = shop.query(
        "SELECT status, reason, count(*) FROM orders_order WHERE id = ANY(%s::uuid[]) GROUP BY 1, 2",
        [*refused, *unanswered],
    )
    assert ends == [("CANCELLED", "shipping_refused", 2 * OF_A_KIND)]
    assert customer.orders()
    read_the_log(desk, ada, worst)
    read_the_order(desk, ada, worst)
    desk.show("/admin/")
    desk.show("/admin/desk/switches/", name="switches", person=ADMIN)
    assert shop.audit() == (0, [])


def open_for_business(shop: Shop) -> Customer:
    """Sell something, so that the desk has a good day to compare with."""
    customer = shop.customer()
    placed = [customer.place({"TEA-GREEN": 1, "MUG-BLUE": number}) for number in range(1, 7)]
    assert {customer.end_of(order) for order in placed} == {"CONFIRMED"}
    return customer


def find_the_two_groups(desk: Desk, ada: Visitor) -> None:
    """See on the first page what is wrong, how much money hangs on it, and whose fault it is."""
    ada.open("/admin/")
    ada.page.reload()
    wait_for(ada, "/admin/", f"{2 * OF_A_KIND} none overdue")
    assert REFUSAL in ada.text
    assert SILENCE in ada.text
    assert "Breaker of bank open" in ada.text
    desk.show("/admin/", name="home", themes=("light", "dark"))
    desk.show("/admin/sagas/case/", name="cases")
    ada.open("/admin/desk/groups/")
    assert f"{2 * OF_A_KIND} open cases in 2 groups" in ada.text
    desk.show("/admin/desk/groups/", name="groups")


def see_one_group_recover(shop: Shop, ada: Visitor, unanswered: list[str]) -> None:
    """What only had to wait for the bank needs nobody once it is back."""
    shop.wait_until(lambda: open_cases(shop, unanswered) == {}, seconds=PATIENCE_SECONDS)
    ada.open("/admin/desk/groups/")
    assert f"{OF_A_KIND} open cases in 1 group" in ada.text
    assert SILENCE not in ada.text
    endings = shop.query(
        "SELECT error_class, resolution, count(*) FROM sagas_case WHERE key = ANY(%s::uuid[]) GROUP BY 1, 2", unanswered
    )
    assert endings == [(UNANSWERED, "recovered", OF_A_KIND)]


def claim_the_worst_and_look_ahead(shop: Shop, desk: Desk, ada: Visitor, worst: str) -> None:
    """Say that one has it, write down what one knows, and see what a retry would do before doing it."""
    ada.open(f"/admin/sagas/case/?q={worst}")
    [case_id] = open_cases(shop, [worst]).values()
    ada.press(re.compile(rf"^#{case_id}\b"))
    ada.press("Claim")
    assert "ada (you)" in ada.text
    ada.page.get_by_label("Add a note").fill("The bank says: refunds were switched off, and are on again.")
    ada.press("Add the note")
    assert "refunds were switched off" in ada.text
    desk.show(f"/admin/sagas/case/{case_id}/change/", name="case", themes=("light", "dark"))
    ada.press("Retry")
    assert "refund 162.00 EUR to the customer" in ada.text
    assert "The bank has taken 162.00 EUR for this order and keeps 162.00 EUR of it" in ada.text
    assert ada.page.get_by_role("button", name="Ask for approval: Retry").is_visible()
    desk.show(f"/admin/sagas/case/{case_id}/retry/", name="preview")
    ada.press("Back to the case")


def retry_the_others_in_bulk(shop: Shop, desk: Desk, ada: Visitor, worst: str) -> str:
    """Freeze the group, look, try one, let the others follow; return the address of the run."""
    ada.open("/admin/desk/groups/")
    ada.page.get_by_label(f"Handle all {OF_A_KIND}").select_option(label="Retry")
    ada.press("Preview")
    run = ada.page.url
    assert f"{OF_A_KIND} of {OF_A_KIND} chosen cases can be acted on" in ada.text
    assert "1 of them takes effect only after a second person has approved" in ada.text
    desk.show(run)
    ada.page.get_by_label("Reason").fill("the bank refunds again, ticket 812")
    ada.page.get_by_label("Cases a second").fill("2")
    ada.press("Retry: start with one")
    ada.page.get_by_role("button", name="Go on with the others").wait_for(timeout=1000 * PATIENCE_SECONDS)
    [(done, waiting)] = shop.query(
        "SELECT count(*) FILTER (WHERE status = 'DONE'), count(*) FILTER (WHERE status = 'WAITING') FROM desk_bulkrow"
    )
    assert (done, waiting) == (1, OF_A_KIND - 1)
    desk.show(run)
    ada.press("Go on with the others")
    shop.wait_until(lambda: counted(shop, "WAITING") <= OF_A_KIND // 2)
    desk.show(run, name="bulk-progress")
    shop.wait_until(
        lambda: (counted(shop, "DONE"), counted(shop, "AWAITS_APPROVAL")) == (OF_A_KIND - 1, 1),
        seconds=PATIENCE_SECONDS,
    )
    ada.open(run)
    ada.wait_for_text("1 waiting for a second person to approve")
    assert list(open_cases(shop, [worst])) == [worst]
    return run


def approve(grace: Visitor, desk: Desk, action: str, *, picture: str = "") -> None:
    """Find the request in the inbox, look at what it is about, and agree."""
    grace.open("/admin/sagas/approval/")
    desk.show("/admin/sagas/approval/", name=picture, person="grace")
    grace.press(action)
    assert f"ada has asked for “{action}”" in grace.text
    grace.press(f"Approve: {action}")
    grace.page.get_by_label("Reason").fill("agreed on the phone")
    grace.press(f"Approve: {action}")


def see_it_fail_again(ada: Visitor, run: str) -> None:
    """No success is told before the bank has confirmed it; this one fails, and the run says so by itself."""
    ada.open(run)
    ada.wait_for_text("failed again", seconds=PATIENCE_SECONDS)
    ada.look()
    assert "the bank refuses to refund this charge → Case" in ada.text


def resolve_by_hand(shop: Shop, ada: Visitor, worst: str) -> None:
    """Pay it back another way, and say under which reference."""
    [case_id] = open_cases(shop, [worst]).values()
    ada.press(f"Case {case_id}")
    ada.press("Resolve by hand")
    ada.page.get_by_label("Reason").fill("paid back by bank transfer")
    ada.page.get_by_label("Reference").fill(REFERENCE)
    ada.press("Ask for approval: Resolve by hand")
    assert "Another person has to approve it first" in ada.text
    assert list(open_cases(shop, [worst])) == [worst]


def read_the_log(desk: Desk, ada: Visitor, worst: str) -> None:
    """Find who did what, why, from where, and what came of it."""
    desk.show("/admin/sagas/operatoraction/", name="operator-log")
    ada.open(f"/admin/sagas/operatoraction/?q={worst}")
    for told in ("claim", "note", "retry", "approve retry", "resolve", "approve resolve", "127.0.0.1", "failed again"):
        assert told in ada.text.lower(), told
    assert "grace" in ada.text


def read_the_order(desk: Desk, ada: Visitor, worst: str) -> None:
    """Find all of it on one page, and take it along as one file."""
    path = f"/admin/desk/orders/{worst}/"
    desk.show(path, name="timeline")
    ada.open(path)
    for told in ("payment.refund", "refund_refused", "ada", "grace", REFERENCE, "162.00 EUR", "CANCELLED"):
        assert told in ada.text, told
    ada.page.get_by_label("What it is for").fill("the finance team asks")
    with ada.page.expect_download() as download:
        ada.page.get_by_role("button", name="Download the evidence").click()
    evidence = json.loads(download.value.path().read_text())
    content = json.dumps(evidence["content"], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(content.encode()).hexdigest() == evidence["sha256"]
    assert evidence["content"]["order_id"] == worst
    kinds = {entry["kind"] for entry in evidence["content"]["entries"]}
    assert kinds >= {"message", "call", "attempt", "case", "note", "operator", "approval"}
    assert REFERENCE in content


def counted(shop: Shop, status: str) -> int:
    """Return how many cases of the bulk run have come to this."""
    [(count,)] = shop.query("SELECT count(*) FROM desk_bulkrow WHERE status = %s", status)
    return int(count)


def wait_for(visitor: Visitor, path: str, text: str) -> None:
    """Open a page anew until it says so: its figures are made every half minute."""
    for _ in range(60):
        visitor.open(path)
        if text in visitor.text:
            return
        visitor.page.wait_for_timeout(2_000)
    raise AssertionError(f"{path} does not say {text!r}, but {visitor.text}")
