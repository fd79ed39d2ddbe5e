"""Two browsers on one case: the page that was opened first is told who has done what since."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from desk.freshness import Mark
from sagas import cases, services
from sagas.models import Case
from tests.factories.cases import refused_refund
from tests.factories.people import approved_by, colleague

pytestmark = pytest.mark.django_db


def signed_in(*permissions: str) -> Client:
    client = Client()
    client.force_login(colleague("olga", *(permissions or ("view_case",))))
    return client


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def news(client: Client, case: Case, seen: object) -> Any:
    return client.get(reverse("desk:case-freshness", args=[case.pk]), {"seen": str(seen)})


def seen_on(client: Client, case: Case) -> str:
    found = re.search(
        r'freshness/\?seen=([^"]+)"', client.get(reverse("admin:sagas_case_change", args=[case.pk])).content.decode()
    )
    assert found is not None
    return found[1]


def test_while_nothing_has_changed_there_is_nothing_to_show() -> None:
    client, case = signed_in(), refused_refund()

    answer = news(client, case, seen_on(client, case))

    assert (answer.status_code, answer.content) == (204, b"")


def test_the_second_browser_is_told_who_did_what() -> None:
    client, case = signed_in(), refused_refund()
    seen = seen_on(client, case)
    cases.claim(case_id=case.pk, operator="ada")
    services.retry(saga_id=case.saga_id or case.key, operator="grace", reason="the cause is gone")

    answer = news(client, case, seen)

    told = text(answer)
    assert answer.status_code == 200
    assert "This page is out of date: the case has changed since you opened it." in told
    assert told.index("ada has claimed the case (done)") < told.index("grace has retried it (requested)")
    assert "The case is closed: retried." in told
    assert "Reload the page before you act" in told


def test_what_one_did_oneself_elsewhere_is_told_too() -> None:
    client, case = signed_in(), refused_refund()
    seen = seen_on(client, case)
    cases.claim(case_id=case.pk, operator="olga")

    assert "You have claimed the case in another window (done)" in text(news(client, case, seen))


def test_a_request_for_approval_is_news() -> None:
    client, case = signed_in(), refused_refund()
    seen = seen_on(client, case)
    services.abandon(saga_id=case.saga_id or case.key, operator="grace", reason="r")
    approved_by("ada")

    told = text(news(client, case, seen))

    assert "grace has asked for a second person&#x27;s approval of “abandon” (awaits approval)" in told
    assert "ada has approved “abandon” (done)" in told


def test_what_the_saga_did_by_itself_is_news() -> None:
    client, case = signed_in(), refused_refund()
    seen = seen_on(client, case)
    assert case.saga is not None
    case.saga.updated_at = timezone.now()
    case.saga.save()

    assert "The saga has gone on: it is SUSPENDED now." in text(news(client, case, seen))


@pytest.mark.parametrize("seen", ["", "x", "1", "1.2.BURNT", "9" * 30 + "..OPEN", "-1..OPEN"])
def test_a_page_that_cannot_say_what_it_saw_is_out_of_date(seen: str) -> None:
    answer = news(signed_in(), refused_refund(), seen)

    assert answer.status_code == 200
    assert "This page is out of date" in text(answer)


def test_a_mark_says_what_it_was_made_from() -> None:
    case = refused_refund()

    assert Mark.read(str(Mark.of(case))) == Mark.of(case)


def test_news_are_for_those_who_may_look() -> None:
    case = refused_refund()

    assert news(signed_in("claim_case"), case, "0..OPEN").status_code == 403


def test_there_is_no_news_of_no_case() -> None:
    assert signed_in().get(reverse("desk:case-freshness", args=[999_999])).status_code == 404
