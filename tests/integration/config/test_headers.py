"""What answers tell the browser: pages run no script but ours, nobody frames them, and nothing of the desk is kept."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.integration.config.doors import pages_of_the_desk

pytestmark = pytest.mark.django_db

PAGE = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "object-src": "'none'",
}
DESK = PAGE | {"script-src": "'self' 'unsafe-eval'"}
CLOSED = {"default-src": "'none'", "frame-ancestors": "'none'"}
# A script inside the page, a handler inside a tag, a link that is a script.
INLINE = re.compile(
    r"<script(?![^>]*\b(?:src|type=[\"']application/json[\"']))|<[^>]+\son[a-z]+\s*=|[\"']\s*javascript:", re.IGNORECASE
)


@pytest.fixture
def desk() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="olga", is_staff=True, is_superuser=True))
    return client


def policy_of(answer: object) -> dict[str, str]:
    parts = answer.headers["Content-Security-Policy"].split("; ")  # type: ignore[attr-defined]
    return dict(part.split(" ", 1) for part in parts)


def test_every_page_of_the_desk_has_the_policy_and_is_kept_nowhere(desk: Client) -> None:
    for page in pages_of_the_desk():
        answer = desk.get(page.path)

        assert (page.path, policy_of(answer)) == (page.path, DESK)
        assert (page.path, answer["Cache-Control"]) == (page.path, "no-store")
        if page.name == "admin:logout":
            continue
        assert (page.path, answer["X-Frame-Options"], answer["Referrer-Policy"]) == (page.path, "DENY", "same-origin")
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer["Permissions-Policy"].startswith("camera=()")


def test_no_page_of_the_desk_has_a_script_inside(desk: Client) -> None:
    pages = {page.path: desk.get(page.path) for page in pages_of_the_desk()}
    texts = {path: answer.content.decode() for path, answer in pages.items() if "html" in answer["Content-Type"]}

    assert len(texts) > 20
    assert {path: found[0] for path, text in texts.items() if (found := INLINE.search(text))} == {}


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/api/docs", PAGE),
        ("/api/schema", CLOSED),
        ("/api/v1/products", CLOSED),
        ("/webhooks/payments/simulated", CLOSED),
        ("/healthz", CLOSED),
        ("/readyz", CLOSED),
        ("/metrics", CLOSED),
        ("/nothing", CLOSED),
        ("/admin/nothing", DESK),
        ("/admin", CLOSED),
    ],
)
def test_each_address_has_the_policy_of_its_kind(client: Client, path: str, policy: dict[str, str]) -> None:
    assert policy_of(client.get(path)) == policy


def test_the_description_of_the_api_runs_no_script_inside_the_page(client: Client) -> None:
    page = client.get("/api/docs").content.decode()

    scripts = re.findall(r"<script[^>]*>", page)

    assert len(scripts) == 3
    assert INLINE.search(page) is None
    assert client.get("/api/docs?script=").status_code == 200
