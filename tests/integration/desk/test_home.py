"""The first page of the desk: what needs a person, what it costs, whether work flows; and looking costs nothing."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from config.unfold import open_cases
from desk import home
from desk.monitoring import selectors
from desk.monitoring.models import Measurement, Minute
from desk.monitoring.refresh import measure
from outbox import breaker, pausing
from outbox.models import Delivery
from sagas import services
from sagas.models import Case, SagaInstance
from tests.factories.cases import completed_saga, refused_event, refused_refund, running_saga

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
# What the page may read: the view and its minutes, who asks, the switches, and for the sidebar the few requests that
# wait, which have an index of their own.
ALLOWED = re.compile(r"(desk_|auth_|django_session|django_content_type|outbox_pause$|otp_|sagas_approval$)")


@pytest.fixture
def admin_user() -> User:
    """An operator who may do everything, without the seconds that a password takes."""
    return User.objects.create(username="admin", is_staff=True, is_superuser=True)


def page(client: Client) -> str:
    """Return the first page as its reader sees it, after the next measurement."""
    measure()
    return text(client.get(reverse("admin:index")))


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", response.content.decode())))


def figures(response: Any, part: str) -> dict[str, home.Figure]:
    return {figure.name: figure for figure in response.context[part]}


def who_may(*permissions: str) -> Client:
    user = User.objects.create(username="ada", is_staff=True)
    labels = [permission.split(".") for permission in permissions]
    found = [Permission.objects.get(content_type__app_label=app, codename=name) for app, name in labels]
    user.user_permissions.set(found)
    client = Client()
    client.force_login(user)
    return client


def test_the_page_reads_no_hot_table(admin_client: Client) -> None:
    refused_refund()
    running_saga()
    measure()

    with CaptureQueriesContext(connection) as queries:
        answer = admin_client.get(reverse("admin:index"))

    read = [
        name for query in queries for name in re.findall(r'(?:FROM|JOIN|UPDATE|INTO)\s+"?(\w+)', query["sql"], re.I)
    ]
    assert answer.status_code == 200
    assert {name for name in read if not ALLOWED.match(name)} == set()
    assert {"desk_open_cases", "desk_live_sagas", "desk_queue", "desk_waiting_approvals", "desk_minute"} <= set(read)
    assert len(queries) < 25


def test_open_cases_are_shown_by_failure_group(admin_client: Client) -> None:
    cases = [refused_refund(), refused_refund()]
    refused_event()
    Case.objects.filter(pk=cases[0].pk).update(
        due_at=timezone.now() - HOUR, opened_at=timezone.now() - 2 * HOUR, claimed_at=timezone.now()
    )
    Case.objects.filter(pk=cases[1].pk).update(fingerprint=cases[0].fingerprint)
    Case.objects.filter(error_class="KeyError").update(fingerprint="other")

    told = page(admin_client)

    assert "Open cases 3 1 overdue, 2 without an owner" in told
    assert "Oldest case 2 h 0 min the most urgent one is overdue by 1 h 0 min" in told
    assert "The bank refuses to give the money back, undoing charge-payment" in told
    assert "2 1 1 2 h 0 min overdue by 1 h 0 min 25.00 EUR Runbook" in told
    assert "Act on a whole group" in told


def test_a_group_leads_to_its_cases_and_to_what_can_be_done(admin_client: Client) -> None:
    case = refused_refund()
    measure()

    content = admin_client.get(reverse("admin:index")).content.decode()

    cases = reverse("admin:sagas_case_changelist", query={"fingerprint": case.fingerprint})
    assert f'href="{cases}"' in content
    assert f'href="{reverse("desk:groups")}"' in content
    assert f'href="{reverse("desk:runbook", args=["refund-refused"])}"' in content
    assert f"/case/{case.pk}/change/" in admin_client.get(cases).content.decode()


def test_amounts_have_the_decimals_of_their_currency() -> None:
    refused_refund()
    other = refused_refund()
    Case.objects.filter(pk=other.pk).update(currency="JPY", amount=1250)
    measure()

    (group,) = home.groups_of(selectors.open_cases())

    assert group.amounts == ["12.50 EUR", "1250 JPY"]
    assert (group.cases, group.unowned) == (2, 2)


def test_more_groups_than_fit_are_told(admin_client: Client) -> None:
    for n in range(12):
        case = refused_refund()
        Case.objects.filter(pk=case.pk).update(fingerprint=f"f{n}")

    assert "Act on a whole group, and see 2 more" in page(admin_client)


def test_a_quiet_shop_says_so(admin_client: Client) -> None:
    told = page(admin_client)

    assert "Open cases 0 nobody is needed" in told
    assert "No case is open: nothing waits for a person." in told
    assert "Approvals waiting 0 nobody waits for a second person" in told
    assert "Charged and not shipped nothing" in told
    assert "Messages on their way 0 all that was said has been delivered" in told
    assert "Turned back 0.0 % 0 of 0 begun in the last hour; the budget is 2 %" in told
    assert "nobody has paused a destination" in told


def test_money_at_risk_is_shown_by_kind(admin_client: Client) -> None:
    refused_refund()
    paid = completed_saga()
    steps = {
        **SagaInstance.objects.get(pk=paid.pk).steps,
        "create-shipment": {"status": "RUNNING"},
        "confirm-order": {},
    }
    SagaInstance.objects.filter(pk=paid.pk).update(
        status="RUNNING", steps=steps, started_at=timezone.now() - HOUR, ended_at=None
    )

    told = page(admin_client)

    assert "Refunds pending 12.50 EUR 1 order." in told
    assert "Charged and not shipped 12.50 EUR 1 order." in told
    assert "Reserved and not released nothing Goods" in told


def test_approvals_that_wait_are_shown(admin_client: Client) -> None:
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="olga", reason="r")

    told = page(admin_client)

    assert re.search(r"Approvals waiting 1 the first lapses in 23 h 59 min; 12\.50 EUR", told)


def test_the_flow_of_work_is_shown(admin_client: Client) -> None:
    refused_refund()
    running_saga()
    Delivery.objects.filter(dead_at__isnull=True).update(message_time=timezone.now() - HOUR)

    told = page(admin_client)

    assert "Live sagas 2 0 turning back, 1 stuck; the oldest began" in told
    assert "Dead deliveries 1 no order waits behind another message" in told
    assert re.search(r"Messages on their way \d+ the oldest for 1 h 0 min", told)
    assert "Turned back 50.0 % 1 of 2 begun in the last hour; the budget is 2 %" in told
    assert "orchestrated. Every order takes the saga" in told
    assert "There is no gradual rollout in this release." in told


@pytest.mark.parametrize(("turned", "is_alarming"), [(2, False), (3, True)])
def test_the_budget_of_orders_that_turn_back_is_watched(admin_client: Client, turned: int, is_alarming: bool) -> None:
    measure()
    this = timezone.now().replace(second=0, microsecond=0)
    Minute.objects.filter(at__gte=this - HOUR).delete()
    Minute.objects.create(at=this - timedelta(minutes=30), started=100, turned_back=turned)
    Minute.objects.create(at=this - timedelta(minutes=90), started=100, turned_back=100)

    ratio = figures(admin_client.get(reverse("admin:index")), "flow")["ratio"]

    assert (ratio.value, ratio.is_alarming) == (f"{turned}.0 %", is_alarming)


def test_breakers_and_pauses_are_shown(admin_client: Client) -> None:
    breaker.hold_open(gateway="bank", operator="olga")
    with transaction.atomic():
        pausing.pause(destination="shipping", operator="grace", reason="the carrier moves house")

    told = page(admin_client)

    assert re.search(r"Breaker of bank held open by olga since \d\d:\d\d:\d\d UTC: not called until", told)
    assert "Breaker of carrier closed: it is called as usual" in told
    assert re.search(r"Paused: shipping by grace since [\d: -]+ UTC: the carrier moves house", told)


def test_charts_are_drawn_without_a_script_and_say_what_they_show(admin_client: Client) -> None:
    measure()
    this = timezone.now().replace(second=0, microsecond=0)
    Minute.objects.filter(at=this - timedelta(minutes=1)).update(started=42, open_cases=3, lag_seconds=0.5)

    content = admin_client.get(reverse("admin:index")).content.decode()

    charts = re.findall(r"<svg.*?</svg>", content, re.DOTALL)
    titles = [re.findall(r"<title[^>]*>([^<]*)</title>", chart) for chart in charts]
    says = [re.findall(r"<desc[^>]*>([^<]*)</desc>", chart) for chart in charts]
    assert titles == [["Orders per minute"], ["Turned back"], ["Relay lag"], ["Open cases"]]
    assert says[0] == ["42 in the last minute, 42 at most."]
    assert 'class="home-chart-line" d="M' in charts[0]
    assert "<script" not in "".join(charts)
    assert "style=" not in "".join(charts)
    assert re.search(r'<td data-label="Orders begun">42</td>', content)


def test_the_page_refreshes_itself_and_names_what_keeps_the_focus(admin_client: Client) -> None:
    refused_refund()
    measure()

    content = admin_client.get(reverse("admin:index")).content.decode()

    poll = re.search(r'hx-get="([^"]*)" hx-trigger="every 30s" hx-swap="none" hx-select-oob="([^"]*)"', content)
    assert poll is not None
    assert poll[1] == reverse("admin:index")
    parts = [name.removeprefix("#") for name in poll[2].split(",")]
    assert [content.count(f'id="{name}"') for name in parts] == [1] * len(parts)
    main = content[content.index('id="home-freshness"') :]
    links = re.findall(r"<a [^>]*>", main[: main.index("</details>")])
    assert [link for link in links if "id=" not in link] == []


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (None, "Nothing has been measured yet."),
        (timedelta(minutes=10), "These figures are old: they were measured 10 min 0 s ago"),
        (timedelta(seconds=20), "20 s before this page was made."),
    ],
)
def test_the_age_of_the_figures_is_told(admin_client: Client, age: timedelta | None, expected: str) -> None:
    if age is not None:
        measure()
        Measurement.objects.update(at=timezone.now() - age)

    told = text(admin_client.get(reverse("admin:index")))

    assert expected in told
    assert ("It refreshes itself every 30 seconds." in told) is (expected.startswith("20 s"))


@pytest.mark.parametrize(
    ("permissions", "seen"),
    [
        ((), set()),
        (("sagas.view_case",), {"What needs a person now", "Open cases by failure group"}),
        (("sagas.view_approval",), {"What needs a person now"}),
        (
            ("sagas.view_sagainstance",),
            {"Money at risk", "Whether work flows", "Breakers, pauses and rollout", "The last three hours"},
        ),
        (("outbox.view_delivery",), {"Whether work flows", "Breakers, pauses and rollout"}),
    ],
)
def test_a_reader_sees_only_what_he_may(permissions: tuple[str, ...], seen: set[str]) -> None:
    refused_refund()
    measure()

    answer = who_may(*permissions).get(reverse("admin:index"))

    headings = {
        html.unescape(found) for found in re.findall(r'<h2 class="home-heading"[^>]*>([^<]*)', answer.content.decode())
    }
    assert answer.status_code == 200
    assert headings == seen
    assert ("You may look at nothing here yet" in text(answer)) is (not permissions)


def test_a_stranger_is_asked_to_sign_in(client: Client) -> None:
    answer = client.get(reverse("admin:index"))

    assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, reverse("admin:login"))


def test_the_sidebar_counts_what_was_measured(admin_client: Client) -> None:
    measure()
    refused_refund()
    before = open_cases(admin_client.get(reverse("admin:index")).wsgi_request)
    measure()

    with CaptureQueriesContext(connection) as queries:
        after = open_cases(admin_client.get(reverse("admin:index")).wsgi_request)

    assert (before, after) == ("0", "1")
    assert [query["sql"] for query in queries if "sagas_case" in query["sql"]] == []


def test_an_error_text_is_shown_as_text(admin_client: Client) -> None:
    case = refused_refund()
    markup = "<script>alert(1)</script>"
    Case.objects.filter(pk=case.pk).update(error_class=markup, fingerprint=markup, destination=markup, error=markup)
    measure()

    content = admin_client.get(reverse("admin:index")).content.decode()

    assert markup not in content
    assert "&lt;script&gt;alert(1)" in content
