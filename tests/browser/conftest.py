"""One Chromium for all tests, and a shop of its own for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium
from tests.browser.visitors import Desk
from tests.running import running_shop
from tests.shop import Shop


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the browser. As root Chromium has no sandbox; it opens nothing but our own pages."""
    path = chromium.find()
    assert path is not None, chromium.HOW
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop; at the end its audit must find nothing."""
    with running_shop(name="desk", customers=40) as shop:
        yield shop
        assert shop.audit() == (0, [])


@pytest.fixture(scope="module")
def desk(shop: Shop, browser: Browser) -> Iterator[Desk]:
    """Open the desk of the shop."""
    desk = Desk(shop=shop, browser=browser)
    yield desk
    desk.close()
