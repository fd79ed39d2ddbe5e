"""Two people at one case: each is told what the other did, nobody acts on what is over, nobody does what he may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.troubles import open_cases, refuse_refunds
from tests.browser.visitors import ADMIN, Desk, Visitor
from tests.shop import Shop

CASES = 4


@pytest.fixture(scope="module")
def spare(shop: Shop) -> Iterator[int]:
    """Hand out cases that nobody has touched."""
    return iter(sorted(open_cases(shop, refuse_refunds(shop, orders=CASES)).values()))


@pytest.fixture
def case_id(spare: Iterator[int]) -> int:
    """Return the number of a case that nobody has touched."""
    return next(spare)


def page_of(case_id: int, action: str = "change") -> str:
    """Return the address of a page of a case."""
    return f"/admin/sagas/case/{case_id}/{action}/"


def state_of(shop: Shop, case_id: int) -> list[tuple[Any, ...]]:
    """Return all that an action on a case would change."""
    return shop.query(
        "SELECT c.status, c.resolution, c.owner, c.claimed_at, s.status, s.updated_at,"
        " (SELECT count(*) FROM sagas_casenote), (SELECT count(*) FROM sagas_approval),"
        " (SELECT count(*) FROM desk_bulkrun),"
        " (SELECT count(*) FROM outbox_message m WHERE m.ordering_key = c.key)"
        " FROM sagas_case c JOIN sagas_sagainstance s ON s.id = c.saga_id WHERE c.id = %s",
        case_id,
    )


def seen_by(visitor: Visitor) -> dict[str, str]:
    """Return what the confirmation page says that it has seen."""
    fields = visitor.page.locator("#main form input[type=hidden]").evaluate_all(
        "fields => fields.map(field => [field.name, field.value])"
    )
    return {name: value for name, value in fields if name != "csrfmiddlewaretoken"}


def test_the_second_is_told_what_the_first_has_done(desk: Desk, case_id: int) -> None:
    """Without touching the page."""
    ada, grace = desk.visitor("ada"), desk.visitor("grace")
    ada.open(page_of(case_id))
    grace.open(page_of(case_id))
    assert "out of date" not in grace.text

    ada.press("Claim")

    assert "ada (you)" in ada.text
    grace.wait_for_text("ada has claimed the case")
    assert "This page is out of date" in grace.text
    grace.look()


def test_a_page_that_is_out_of_date_cannot_act(desk: Desk, shop: Shop, case_id: int) -> None:
    """What was written on it is not lost."""
    ada, other = desk.visitor("ada"), desk.visitor(ADMIN)
    for visitor in (ada, other):
        visitor.open(page_of(case_id, "skip"))
        visitor.page.get_by_label("Reason").fill(f"{visitor.name} thinks so")
    ada.press("Skip")
    shop.wait_until(lambda: state_of(shop, case_id)[0][4] == "COMPENSATED")
    before = state_of(shop, case_id)

    with other.expecting(409):
        other.press("Skip")

    assert "Nothing was changed" in other.text
    assert "admin thinks so" in other.text
    assert "saga has changed since you looked: it is COMPENSATED now" in other.text
    assert state_of(shop, case_id) == before


def test_without_the_permission_there_is_no_button_and_no_way(desk: Desk, shop: Shop, case_id: int) -> None:
    """What another person's page would send, sent by hand, is refused with 403."""
    olga, ada = desk.visitor("olga"), desk.visitor("ada")
    ada.open(page_of(case_id, "retry"))
    form = seen_by(ada) | {"reason": "because", "reference": "SEPA-1"}
    before = state_of(shop, case_id)

    olga.open(page_of(case_id))

    assert "Nothing by you" in olga.text
    for name in ("Claim", "Retry", "Skip", "Resolve by hand", "Abandon", "Add the note"):
        main = olga.page.locator("#main")
        assert main.get_by_role("button", name=name).or_(main.get_by_role("link", name=name)).count() == 0, name
    refused = {
        path: olga.post(path, form | extra).status
        for path, extra in (
            *((page_of(case_id, action), {}) for action in ("retry", "skip", "resolve", "abandon", "approve")),
            (f"/admin/desk/cases/{case_id}/owner/", {"do": "claim"}),
            (f"/admin/desk/cases/{case_id}/note/", {"text": "hello"}),
            ("/admin/desk/bulk/new/", {"action": "retry", "case": str(case_id)}),
        )
    }
    assert refused == dict.fromkeys(refused, 403)
    assert state_of(shop, case_id) == before


def test_who_has_asked_for_it_cannot_approve_it(desk: Desk, shop: Shop, case_id: int) -> None:
    """He has the permission and sends the form by hand; the second person sees the button, and it works."""
    asker, grace = desk.visitor(ADMIN), desk.visitor("grace")
    asker.open(page_of(case_id, "abandon"))
    asker.page.get_by_label("Reason").fill("the customer has been paid in the shop")
    asker.press("Ask for approval: Abandon")
    before = state_of(shop, case_id)

    assert asker.page.locator("#main").get_by_role("link", name="Approve").count() == 0
    answer = asker.post(page_of(case_id, "approve"), {"reason": "I am sure"})
    assert (answer.status, "you asked for it yourself" in answer.text().lower()) == (403, True)
    assert state_of(shop, case_id) == before
    assert (before[0][0], before[0][4]) == ("OPEN", "SUSPENDED")

    grace.open(page_of(case_id))
    grace.press("Approve: Abandon")
    assert "the customer has been paid in the shop" in grace.text
    grace.page.get_by_label("Reason").fill("seen the receipt")
    grace.press("Approve: Abandon")

    [(status, resolution, *_, saga_status, _, _, _, _, _)] = state_of(shop, case_id)
    assert (status, resolution, saga_status) == ("CLOSED", "abandoned", "ABANDONED")
