"""Every page of the desk, wide and narrow, light and dark: found by following what the pages lead to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.browser.troubles import refuse_refunds
from tests.browser.visitors import ADMIN, NARROW, WIDE, Desk, Theme, Visitor
from tests.shop import Shop

# Rows of one kind look alike: a few of them tell about all.
PER_KIND = 2
# What a page is called with the ids in it left out.
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}[^/]*|\d+|[0-9a-f]{12}|sh_\w+|re_\w+|[A-Z]+-[A-Z0-9-]+")
# Leaves the desk, is a file and no page, or ends the session.
PASSED_OVER = ("/logout/", "/jsi18n/", "/password_change/", "/export", "/evidence", "/static/", "/autocomplete/")


@pytest.fixture(scope="module")
def busy(shop: Shop) -> Shop:
    """Fill the shop: orders that went well, one that came back, and some that wait for a person."""
    customer = shop.customer()
    for number in (1, 2):
        order = customer.place({"KETTLE": number})
        assert customer.end_of(order) == "CONFIRMED"
    customer.post(f"/api/v1/orders/{order}/returns")
    assert customer.end_of(order) == "RETURNED"
    refuse_refunds(shop, orders=2)
    return shop


def pages(visitor: Visitor) -> Iterator[str]:
    """Walk the desk from its home page; yield each address once the page is open."""
    waiting, taken = ["/admin/"], dict[str, int]()
    seen = {"/admin/"}
    while waiting:
        path = waiting.pop(0)
        visitor.page.goto(f"{visitor.url}{path}")
        yield path
        for href in visitor.page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
            address = urlsplit(href)
            onward = address.path + (f"?{address.query}" if address.query else "")
            if not href.startswith(f"{visitor.url}/admin/") or any(part in onward for part in PASSED_OVER):
                continue
            # The same list in another order or with another filter is the same page.
            kind = IDS.sub("#", address.path)
            if onward not in seen and taken.get(kind, 0) < PER_KIND:
                seen.add(onward)
                taken[kind] = taken.get(kind, 0) + 1
                waiting.append(onward)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_page_is_whole(busy: Shop, desk: Desk, width: int, theme: Theme) -> None:
    visitor = desk.visitor(ADMIN, width=width, theme=theme)
    opened, faults = [], []
    for path in pages(visitor):
        opened.append(IDS.sub("#", path.partition("?")[0]))
        try:
            visitor.look()
        except AssertionError as fault:
            faults.append(str(fault))

    assert faults == [], "\n".join(faults)
    assert {
        "/admin/",
        "/admin/sagas/case/",
        "/admin/sagas/case/#/change/",
        "/admin/sagas/sagainstance/#/change/",
        "/admin/orders/order/#/change/",
        "/admin/outbox/message/#/change/",
    } <= set(opened)
    is_dark = visitor.page.evaluate("() => document.documentElement.classList.contains('dark')")
    assert is_dark == (theme == "dark")
