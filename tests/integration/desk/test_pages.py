"""The desk's other pages: they show, they find, they count no hot table, and they keep personal data to themselves."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from uuid_utils.compat import uuid7

from config.unfold import open_cases, sidebar
from desk.monitoring.refresh import measure
from outbox.desk import duration
from outbox.models import Attempt, Delivery, Message
from outbox.redaction import redacted
from sagas import services
from sagas.models import Case, OperatorAction, SagaInstance
from tests.factories.cases import CARD, REFUSAL, STREET, completed_saga, deliveries_of, refused_refund, running_saga
from tests.factories.people import approved_by

pytestmark = pytest.mark.django_db

LISTS = (
    "sagas_sagainstance",
    "sagas_case",
    "sagas_operatoraction",
    "outbox_message",
    "outbox_delivery",
    "outbox_attempt",
    "django_celery_beat_periodictask",
    "sagas_approval",
    "auth_user",
    "auth_group",
)


@pytest.fixture
def admin_user() -> User:
    """An operator who may do everything, without the seconds that a password takes."""
    return User.objects.create(username="admin", is_staff=True, is_superuser=True)


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def listing(client: Client, page: str, /, **query: object) -> Any:
    return client.get(reverse(f"admin:{page}_changelist"), {key: str(value) for key, value in query.items()})


@pytest.mark.parametrize("name", LISTS)
def test_every_list_opens(admin_client: Client, name: str) -> None:
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="olga", reason="r")
    approved_by("ada")

    assert listing(admin_client, name).status_code == 200


@pytest.mark.parametrize("name", ["sagas_sagainstance", "outbox_message", "outbox_delivery", "outbox_attempt"])
def test_no_hot_table_is_counted(admin_client: Client, name: str) -> None:
    refused_refund()

    with CaptureQueriesContext(
        connection,
    ) as queries:
        listing(admin_client, name)

    counting = [q["sql"] for q in queries if "COUNT(" in q["sql"].upper() and f'"{name}"' in q["sql"]]
    assert counting == []


@pytest.mark.parametrize("by", ["pk", "key"])
def test_a_saga_is_found_by_its_id_and_its_orders(admin_client: Client, by: str) -> None:
    saga, other = running_saga(), running_saga()

    page = listing(admin_client, "sagas_sagainstance", q=getattr(saga, by)).content.decode()

    assert f"/sagainstance/{saga.pk}/" in page
    assert f"/sagainstance/{other.pk}/" not in page


def test_half_an_id_finds_nothing_and_says_so(admin_client: Client) -> None:
    saga = running_saga()

    page = listing(admin_client, "sagas_sagainstance", q=str(saga.pk)[:8])

    assert "Give a whole id: this list is searched by id only." in text(page)
    assert f"/sagainstance/{saga.pk}/" not in page.content.decode()


@pytest.mark.parametrize(("query", "expected"), [({"status": "COMPLETED"}, 1), ({"name": "order-return"}, 0)])
def test_sagas_are_filtered(admin_client: Client, query: dict[str, str], expected: int) -> None:
    completed_saga()
    running_saga()

    page = listing(admin_client, "sagas_sagainstance", **query).content.decode()

    assert len(set(re.findall(r"/sagainstance/([0-9a-f-]{36})/", page))) == expected


def test_a_saga_page_tells_its_story(admin_client: Client) -> None:
    case = refused_refund()
    services.retry(saga_id=case.saga_id or case.key, operator="olga", reason="the bank says yes")

    page = admin_client.get(reverse("admin:sagas_sagainstance_change", args=[case.saga_id]))

    headings = re.findall(r"<h3[^>]*>([^<]*)</h3>", page.content.decode())
    assert headings == ["Steps", "Cases", "What people did", "Failed attempts", "Messages of the order"]
    assert "the bank says yes" in text(page)
    assert REFUSAL in text(page)
    assert "charge-payment COMPENSATING compensation" in text(page)


@pytest.mark.parametrize("page", ["saga", "message"])
def test_pages_show_payloads_without_personal_data(admin_client: Client, page: str) -> None:
    saga = running_saga()
    message = Message.objects.get(ordering_key=saga.key, type="order.created")
    urls = {
        "saga": reverse("admin:sagas_sagainstance_change", args=[saga.pk]),
        "message": reverse("admin:outbox_message_change", args=[message.pk]),
    }

    content = admin_client.get(urls[page]).content.decode()

    assert "1250" in content
    assert "•••" in content
    assert STREET not in content
    assert CARD not in content


def test_an_error_text_is_shown_as_text(admin_client: Client) -> None:
    case = refused_refund()
    markup = "<script>alert(1)</script>"
    Case.objects.update(error=markup, error_class=markup)
    steps = SagaInstance.objects.get().steps
    steps["charge-payment"]["error"] = markup
    SagaInstance.objects.update(steps=steps)
    Delivery.objects.update(error=markup, error_class=markup)
    pages = [
        reverse("admin:sagas_case_changelist"),
        reverse("admin:sagas_case_change", args=[case.pk]),
        reverse("admin:sagas_case_change", args=[case.pk]).replace("change", "abandon"),
        reverse("admin:sagas_sagainstance_change", args=[case.saga_id]),
        reverse("admin:outbox_delivery_changelist"),
        reverse("admin:outbox_delivery_change", args=[deliveries_of(case).values_list("pk", flat=True).get()]),
    ]

    contents = [admin_client.get(page).content.decode() for page in pages]

    assert [page for page, content in zip(pages, contents, strict=True) if markup in content] == []
    assert all("&lt;script&gt;alert(1)" in content for content in contents)


def test_redaction_reaches_into_lists_and_leaves_the_rest() -> None:
    payload = {"a": [{"email": "x@y", "sku": "T"}], "payment_method": "", "address": {"city": "B"}}

    assert redacted(payload) == {
        "a": [{"email": "•••", "sku": "T"}],
        "payment_method": "",
        "address": "•••",
    }


def test_the_messages_of_an_order_are_in_its_order(admin_client: Client) -> None:
    case = refused_refund()
    said = list(Message.objects.filter(ordering_key=case.key).order_by("sequence").values_list("type", flat=True))
    running_saga()

    page = listing(admin_client, "outbox_message", q=case.key).content.decode()

    types = re.findall(r">\s*((?:order|inventory|payment|shipment)\.\w+)\s*<", page)
    assert types == said


def test_deliveries_show_the_dead_ones_first(admin_client: Client) -> None:
    case = refused_refund()

    dead = text(listing(admin_client, "outbox_delivery"))
    waiting = text(listing(admin_client, "outbox_delivery", state="waiting"))

    assert "payment.refund" in dead
    assert "order.created" not in dead
    assert "payment.refund" not in waiting
    assert "order.created" in waiting
    assert deliveries_of(case).exists()


def test_a_dead_delivery_has_a_page(admin_client: Client) -> None:
    case = refused_refund()
    (delivery_id,) = deliveries_of(case).values_list("pk", flat=True)

    page = admin_client.get(reverse("admin:outbox_delivery_change", args=[delivery_id]))

    assert REFUSAL in text(page)
    assert "Due never" in text(page)


@pytest.mark.parametrize("name", ["sagas_sagainstance", "sagas_operatoraction", "outbox_message", "outbox_attempt"])
def test_nothing_can_be_changed(admin_client: Client, name: str) -> None:
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="olga", reason="r")
    approved_by("ada")
    rows = {
        "sagas_sagainstance": SagaInstance.objects.get(),
        "sagas_operatoraction": OperatorAction.objects.first(),
        "outbox_message": Message.objects.first(),
        "outbox_attempt": Attempt.objects.get(),
    }
    change = reverse(f"admin:{name}_change", args=[getattr(rows[name], "pk", None)])

    statuses = [
        admin_client.get(change).status_code,
        admin_client.post(change, {}).status_code,
        admin_client.post(change.replace("/change/", "/delete/"), {"post": "yes"}).status_code,
        admin_client.get(reverse(f"admin:{name}_add")).status_code,
    ]

    assert statuses == [200, 403, 403, 403]


def test_the_sidebar_has_what_the_reader_may_see(admin_user: User) -> None:
    request = RequestFactory().get("/admin/")
    request.user = admin_user
    nobody = RequestFactory().get("/admin/")
    nobody.user = User.objects.create(username="nobody", is_staff=True)
    refused_refund()

    groups = {group["title"]: [item["title"] for item in group["items"]] for group in sidebar(request)}

    assert list(groups) == ["Desk", "Shop", "Messages", "Operation"]
    assert groups["Desk"] == ["Cases", "Failure groups", "Bulk runs", "Sagas", "Approvals", "Operator log"]
    assert "Switches" in groups["Operation"]
    assert sidebar(nobody) == []
    measure()
    assert open_cases(request) == "1"


def test_tokens_of_customers_have_no_page(admin_client: Client) -> None:
    assert admin_client.get("/admin/authtoken/tokenproxy/").status_code == 404


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0123, "12 ms"), (1.5, "1.50 s"), (75, "1 min 15 s"), (3 * 3600 + 60, "3 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations_are_readable(seconds: float, expected: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    assert duration(start, start + timedelta(seconds=seconds)).replace("\N{NO-BREAK SPACE}", " ") == expected


def test_an_unknown_page_leads_home(admin_client: Client) -> None:
    answer = admin_client.get(reverse("admin:sagas_case_change", args=[404]).replace("change", "retry"))

    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:index"))
    assert admin_client.get(reverse("admin:sagas_sagainstance_change", args=[uuid7()])).status_code == 302
