"""The desk without a mouse: everything is reached by Tab, seen when it is reached, and done by Enter."""

from __future__ import annotations

import re

import pytest

from tests.browser.troubles import open_cases, refuse_refunds
from tests.browser.visitors import NARROW, WIDE, Desk, Visitor
from tests.shop import Shop

# More controls than this on the way to the next one, and nobody finds it.
FAR = 60
FOCUS = """
() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const frame = (element) => {
    const style = getComputedStyle(element);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  };
  const box = one.getBoundingClientRect();
  const copy = one.cloneNode(true);
  copy.querySelectorAll(".material-symbols-outlined").forEach((icon) => icon.remove());
  const label = one.labels && one.labels.length ? one.labels[0].textContent : "";
  const icon = one.matches(".material-symbols-outlined");
  return {
    name: [one.getAttribute("aria-label"), one.title, label, icon ? "" : copy.textContent].find((text) => text) || "",
    isFramed: frame(one) || (one.parentElement && frame(one.parentElement)),
    isOnScreen: box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight,
  };
}
"""


@pytest.fixture(scope="module")
def case_ids(shop: Shop) -> list[int]:
    """Make two cases."""
    return sorted(open_cases(shop, refuse_refunds(shop, orders=2)).values())


def tab_to(visitor: Visitor, name: str) -> None:
    """Press Tab until the control of that name has the focus; whatever has it on the way must be seen to have it."""
    passed = []
    for _ in range(FAR):
        visitor.page.keyboard.press("Tab")
        focus = visitor.page.evaluate(FOCUS)
        if focus is None:
            continue
        assert focus["isFramed"], f"the focus on {focus['name']!r} is not seen"
        assert focus["isOnScreen"], f"the focus on {focus['name']!r} is off the screen"
        passed.append(" ".join(focus["name"].split()))
        # A star marks what must be filled in, a number what waits behind it.
        if re.fullmatch(rf"{re.escape(name)}[ *\d]*", passed[-1], re.IGNORECASE):
            return
    raise AssertionError(f"Tab does not lead to {name!r}, but to {passed}")


def enter(visitor: Visitor) -> None:
    """Press Enter and go where it leads."""
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")
    visitor.look()


def skip_to_content(visitor: Visitor) -> None:
    """Pass the sidebar over."""
    tab_to(visitor, "Skip to the content")
    visitor.page.keyboard.press("Enter")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_case_is_found_and_retried_without_a_mouse(desk: Desk, shop: Shop, case_ids: list[int], width: int) -> None:
    """One case at each width."""
    case_id = case_ids[0 if width == WIDE else 1]
    ada = desk.visitor("ada", width=width)
    ada.open("/admin/")

    if width == NARROW:
        tab_to(ada, "Show or hide the sidebar")
        ada.page.keyboard.press("Enter")
        ada.page.keyboard.press("Shift+Tab")
        ada.page.get_by_role("link", name="Cases").first.focus()
    else:
        tab_to(ada, "Cases")
    enter(ada)
    skip_to_content(ada)
    tab_to(ada, f"#{case_id} open")
    enter(ada)
    skip_to_content(ada)
    tab_to(ada, "Retry")
    enter(ada)
    skip_to_content(ada)
    tab_to(ada, "Reason")
    ada.page.keyboard.type("the bank gave in")
    tab_to(ada, "Retry")
    enter(ada)

    [(status, resolution, reason)] = shop.query(
        "SELECT status, resolution, reason FROM sagas_case WHERE id = %s", case_id
    )
    assert (status, resolution, reason) == ("CLOSED", "retried", "the bank gave in")


def test_a_slash_leads_to_the_search_field(desk: Desk, case_ids: list[int]) -> None:
    ada = desk.visitor("ada")
    ada.open("/admin/sagas/case/")

    ada.page.keyboard.press("/")
    ada.page.keyboard.type("no such thing")
    enter(ada)

    assert ada.page.get_by_role("link", name=f"#{case_ids[0]}").count() == 0


def test_escape_closes_a_menu(desk: Desk) -> None:
    ada = desk.visitor("ada")
    ada.open("/admin/")
    tab_to(ada, "A ada")

    ada.page.keyboard.press("Enter")
    ada.page.get_by_role("button", name="Log out").wait_for(state="visible")
    ada.page.keyboard.press("Escape")

    ada.page.get_by_role("button", name="Log out").wait_for(state="hidden")
