"""How long a page takes, as the browser of a logged in operator sees it."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass

import httpx

from config.local.people import OPERATOR

TIMES = 3
LIMIT_MS = 300
# A page that takes longer has failed, however long it goes on.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page to measure; only lists have a limit to keep."""

    what: str
    url: str
    is_list: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How a page came: in milliseconds, the middle one and the slowest of `TIMES`, from request to the last byte."""

    page: Page
    status: int
    median_ms: float
    slowest_ms: float

    @property
    def is_slow(self) -> bool:
        """Whether it breaks the promise: a list comes within `LIMIT_MS`, and any page comes at all."""
        return self.status != httpx.codes.OK or (self.page.is_list and self.median_ms > LIMIT_MS)


def log_in(browser: httpx.Client, *, password: str) -> str:
    """Come in by the front door; return the source of the first page."""
    form = browser.get("/admin/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    assert token is not None
    filled = {"username": OPERATOR, "password": password, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
    home = browser.post(str(form.url), data=filled, headers={"Referer": str(form.url)}).raise_for_status()
    assert "login" not in home.url.path, "the operator could not log in"
    return home.text


def take_time(browser: httpx.Client, page: Page) -> Timing:
    """Open a page `TIMES` times."""
    taken, status = [], 0
    for _ in range(TIMES):
        began = time.perf_counter()
        try:
            status = browser.get(page.url).status_code
        except httpx.TimeoutException:
            status = int(httpx.codes.GATEWAY_TIMEOUT)
        taken.append(1000 * (time.perf_counter() - began))
    return Timing(page=page, status=status, median_ms=statistics.median(taken), slowest_ms=max(taken))
