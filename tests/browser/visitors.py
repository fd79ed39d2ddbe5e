"""People at the desk, each in a browser of his own; whatever page they open is looked at closely.

A page that complains in the console, breaks the content security policy, asks for what is not there, runs off the
screen, hides what it says or leaves a control without a name fails the test that has opened it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import (
    APIResponse,
    Browser,
    BrowserContext,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    Request,
    Response,
)

from config.local.folder import PROJECT
from tests.shop import Shop

# Everything is slow while a machine does other things too; whoever waits longer waits in vain.
PATIENCE_MS = 30_000
WIDE, NARROW = 1280, 390
HEIGHT = {WIDE: 800, NARROW: 844}
# Whoever looks at a picture scrolls no further.
TALLEST = 2_000
# The people of the desk, and the group that makes each of them what he is.
PEOPLE = {"ada": "operator", "grace": "approver", "olga": "viewer"}
ADMIN = "admin"
Theme = Literal["light", "dark"]
CHECKS = Path(__file__).with_name("checks.js").read_text()
SMALLER = Path(__file__).with_name("smaller.js").read_text()
REFUSED = re.compile(r"the server responded with a status of (\d+)")
# Cut off by the page itself when it goes to the next one: nobody misses it.
LEFT_BEHIND = "net::ERR_ABORTED"


class Visitor:
    """One person in one browser, at one width and in one theme."""

    def __init__(self, *, context: BrowserContext, url: str, name: str) -> None:
        self.context = context
        self.name = name
        self.page = context.new_page()
        self.url = url
        self._expected: set[int] = set()
        self._complaints: list[str] = []
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self._complain(f"script error: {error}"))
        self.page.on("requestfailed", self._miss)
        self.page.on("response", self._receive)

    def log_in(self, *, password: str) -> None:
        """Come in by the front door."""
        self.open("/admin/")
        self.page.get_by_label("Username").fill(self.name)
        self.page.get_by_label("Password").fill(password)
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Log in").click()
        self.look()

    def open(self, path: str) -> Page:
        """Go to an address of the shop and look at the page."""
        self.page.goto(path if path.startswith("http") else f"{self.url}{path}")
        self.look()
        return self.page

    def press(self, name: str | re.Pattern[str], *, within: Locator | None = None) -> None:
        """Press the button, or follow the link, of that name to the next page, and look at it."""
        place = within or self.page.locator("#main")
        exact = isinstance(name, str)
        control = place.get_by_role("button", name=name, exact=exact)
        control = control.or_(place.get_by_role("link", name=name, exact=exact)).first
        with self.page.expect_navigation():
            control.click()
        self.look()

    def look(self) -> None:
        """Fail when the page as it is now has a fault."""
        self.page.wait_for_load_state("load")
        # Alpine and htmx have been at the page, and fonts have changed its widths.
        self.page.evaluate("() => document.fonts.ready.then(() => new Promise(r => setTimeout(r, 100)))")
        found = [*self._complaints, *self.page.evaluate(CHECKS)]
        self._complaints.clear()
        assert found == [], f"{self.name} at {self.page.url}, {self.width} px: {json.dumps(found, indent=1)}"

    @property
    def width(self) -> int:
        """How wide the window is, in pixels."""
        size = self.page.viewport_size
        assert size is not None
        return size["width"]

    @property
    def text(self) -> str:
        """What can be read on the page, in one line."""
        return re.sub(r"\s+", " ", self.page.locator("#main").inner_text())

    def wait_for_text(self, text: str, *, seconds: float = 60.0) -> None:
        """Wait until the page, which looks again by itself, says so."""
        self.page.locator("#main").get_by_text(text).first.wait_for(timeout=1000 * seconds)

    @contextmanager
    def expecting(self, status: int) -> Iterator[None]:
        """Let answers with this status pass meanwhile."""
        self._expected.add(status)
        try:
            yield
        finally:
            self._expected.discard(status)

    def post(self, path: str, form: Mapping[str, Any]) -> APIResponse:
        """Send a form made by hand, with this person's session and token."""
        token = next(one["value"] for one in self.context.cookies() if one.get("name") == "csrftoken")
        answer = self.context.request.post(
            f"{self.url}{path}",
            form=dict(form) | {"csrfmiddlewaretoken": token},
            headers={"Referer": self.url},
            max_redirects=0,
        )
        assert "CSRF" not in answer.text(), "the form is refused before anybody asks who sends it"
        return answer

    def take_picture(self, path: Path) -> None:
        """Keep the page as it looks in a window that shows all of it, or of that its first `TALLEST` pixels."""
        height = max(self.page.evaluate("() => document.documentElement.scrollHeight"), HEIGHT[self.width])
        self.page.set_viewport_size({"width": self.width, "height": height})
        shown: FloatRect = {"x": 0, "y": 0, "width": self.width, "height": min(height, TALLEST)}
        # Animations run as they do: "disabled" would bring them to their end, and show what is to be seen much later.
        picture = self.page.screenshot(clip=shown, animations="allow", caret="hide", scale="css")
        self.page.set_viewport_size({"width": self.width, "height": HEIGHT[self.width]})
        workshop = self.context.new_page()
        smaller = workshop.evaluate(SMALLER, base64.b64encode(picture).decode())
        workshop.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(smaller))

    def _complain(self, text: str) -> None:
        self._complaints.append(text)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        refused = REFUSED.search(message.text)
        # Answers are judged once, where they arrive.
        if refused is None:
            self._complain(f"console: {message.text} ({message.location.get('url', '')})")

    def _miss(self, request: Request) -> None:
        if request.failure != LEFT_BEHIND:
            self._complain(f"no answer: {request.method} {request.url} {request.failure}")

    def _receive(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self._expected:
            self._complain(f"{response.status}: {response.request.method} {response.url}")


class Desk:
    """The desk of a running shop, and whoever sits at it."""

    def __init__(self, *, shop: Shop, browser: Browser) -> None:
        self.shop = shop
        self._browser = browser
        self._password = secrets.token_urlsafe(12)
        self._sessions: dict[str, Any] = {}
        self._contexts: list[BrowserContext] = []
        self._viewers: dict[tuple[str, int, Theme], Visitor] = {}
        make_people(shop, people=PEOPLE, password=self._password)

    def visitor(self, name: str, *, width: int = WIDE, theme: Theme = "light") -> Visitor:
        """Seat a person who is logged in, in a browser of his own."""
        context = self._browser.new_context(
            viewport={"width": width, "height": HEIGHT[width]},
            color_scheme=theme,
            reduced_motion="reduce",
            locale="en-US",
            timezone_id="UTC",
            storage_state=self._sessions.get(name),
        )
        self._contexts.append(context)
        visitor = Visitor(context=context, url=self.shop.url, name=name)
        if name not in self._sessions:
            visitor.log_in(password=self.shop.admin_password if name == ADMIN else self._password)
            self._sessions[name] = context.storage_state()
        return visitor

    def stranger(self, *, width: int = WIDE, theme: Theme = "light") -> Visitor:
        """Seat somebody who is not logged in."""
        context = self._browser.new_context(
            viewport={"width": width, "height": HEIGHT[width]}, color_scheme=theme, reduced_motion="reduce"
        )
        self._contexts.append(context)
        return Visitor(context=context, url=self.shop.url, name="stranger")

    def show(self, path: str, *, name: str = "", person: str = "ada", themes: Sequence[Theme] = ("light",)) -> None:
        """Open a page at both widths and look at it; keep its pictures if it has a name and somebody wants any."""
        folder = name and os.environ.get("SCREENSHOTS", "")
        for width in (WIDE, NARROW):
            for theme in themes:
                viewer = self._viewer(person, width, theme)
                viewer.open(path)
                if folder:
                    suffix = "" if theme == "light" else f"-{theme}"
                    viewer.take_picture(PROJECT / folder / f"{name}-{width}{suffix}.png")

    def _viewer(self, person: str, width: int, theme: Theme) -> Visitor:
        key = person, width, theme
        if key not in self._viewers:
            self._viewers[key] = self.visitor(person, width=width, theme=theme)
        return self._viewers[key]

    def close(self) -> None:
        """Send everybody home."""
        for context in self._contexts:
            context.close()


def make_people(shop: Shop, *, people: Mapping[str, str], password: str) -> None:
    """Make these people of the desk with their roles."""
    subprocess.run(
        [sys.executable, "-m", "tests.browser.people"],
        env=dict(shop.environment) | {"PEOPLE": json.dumps(dict(people)), "PASSWORD": password},
        cwd=PROJECT,
        check=True,
    )
