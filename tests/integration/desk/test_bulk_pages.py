"""The pages of a bulk run: from the ticks in the list of cases to the last result, for those who may."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from desk.bulk import services
from desk.bulk.models import BulkRun
from sagas.models import Case, OperatorAction
from tests.factories.bulk import WHY, bulk_operator, frozen, look_now, running, started, work_off
from tests.factories.cases import is_dead, refund_at_last, refuse_once_more, refused_event, refused_refund

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def grace() -> Client:
    """Log in who may retry many cases, and do nothing else with them."""
    client = Client(REMOTE_ADDR="10.1.2.3")
    client.force_login(bulk_operator("grace", "retry"))
    return client


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def url(name: str, run: BulkRun) -> str:
    return reverse(f"desk:bulk-{name}", args=[run.pk])


def test_what_is_ticked_in_the_list_becomes_a_preview(grace: Client) -> None:
    ticked, other = refused_refund(), refused_refund()
    form = {"action": "bulk_retry", "_selected_action": [str(ticked.pk)]}

    page = grace.post(reverse("admin:sagas_case_changelist"), form, follow=True)

    run = BulkRun.objects.get()
    assert page.redirect_chain[-1][0] == url("run", run)
    assert list(run.rows.values_list("case_id", flat=True)) == [ticked.pk]
    assert (run.requested_by, run.origin, run.source) == ("grace", "10.1.2.3", "ticked in the list of cases")
    assert [is_dead(ticked), is_dead(other)] == [[True], [True]]


def test_everything_that_matches_is_not_what_was_seen(grace: Client) -> None:
    ticked, _other = refused_refund(), refused_refund()
    form = {"action": "bulk_retry", "_selected_action": [str(ticked.pk)], "select_across": "1"}

    page = grace.post(reverse("admin:sagas_case_changelist"), form, follow=True)

    assert "choose the cases that you have seen, page by page" in text(page)
    assert BulkRun.objects.count() == 0


def test_the_list_offers_what_the_person_may_do(grace: Client) -> None:
    refused_refund()

    page = grace.get(reverse("admin:sagas_case_changelist")).content.decode()

    assert re.findall(r'<option value="(bulk_\w+)"', page) == ["bulk_retry"]


def test_cases_are_posted_by_number(grace: Client) -> None:
    cases = [refused_refund() for _ in range(2)]
    form = {"action": "retry", "case": [str(case.pk) for case in cases] + ["x", "-1", "9" * 30]}

    answer = grace.post(reverse("desk:bulk-new"), form)

    run = BulkRun.objects.get()
    assert answer["Location"] == url("run", run)
    assert sorted(run.rows.values_list("case_id", flat=True)) == sorted(case.pk for case in cases)


def test_a_group_is_frozen_on_the_server(grace: Client) -> None:
    inside, outside = refused_refund(), refused_event()
    Case.objects.filter(pk=outside.pk).update(fingerprint="another")

    grace.post(reverse("desk:bulk-new"), {"action": "retry", "group": inside.fingerprint})

    assert list(BulkRun.objects.get().rows.values_list("case_id", flat=True)) == [inside.pk]


def test_nothing_chosen_leads_back_to_the_cases_and_says_so(grace: Client) -> None:
    page = grace.post(reverse("desk:bulk-new"), {"action": "retry"}, follow=True)

    assert page.redirect_chain == [(reverse("admin:sagas_case_changelist"), 302)]
    assert "Nothing was changed: choose at least one case." in text(page)


def test_the_preview_says_what_would_be_done_and_what_cannot(grace: Client) -> None:
    cases = [refused_refund() for _ in range(3)]
    Case.objects.filter(pk=cases[2].pk).update(status="CLOSED", resolution="skipped")

    page = text(grace.get(url("run", frozen(cases))))

    assert "2 of 3 chosen cases can be acted on; 25.00 EUR hang on them. Nothing has been done yet." in page
    assert "payment.refund, as it was, with the same key 2 25.00 EUR at once" in page
    assert "closed already: skipped 1" in page
    assert "One case is tried first. If it fails again, the run stops by itself." in page


def test_the_preview_says_how_many_need_a_second_person(settings: Any, grace: Client) -> None:
    settings.FOUR_EYES_AMOUNT = {"": 1_000}

    page = text(grace.get(url("run", frozen([refused_refund(), refused_refund()]))))

    assert "2 of them take effect only after a second person has approved" in page
    assert "after approval" in page


def test_starting_takes_a_reason(grace: Client) -> None:
    run = frozen([refused_refund()])

    page = grace.post(url("start", run), {"per_second": "5", "reason": ""})

    assert "This field is required" in text(page)
    run.refresh_from_db()
    assert run.phase == "PREVIEW"


def test_starting_tries_the_first_one(grace: Client) -> None:
    run = frozen([refused_refund(), refused_refund()])

    answer = grace.post(url("start", run), {"per_second": "7", "reason": WHY, "goes_on": "on"})

    assert answer["Location"] == url("run", run)
    run.refresh_from_db()
    assert (run.phase, run.per_second, run.goes_on, run.reason) == ("CANARY", 7, True, WHY)
    line = OperatorAction.objects.get()
    assert (line.operator, line.origin, line.action) == ("grace", "10.1.2.3", "bulk retry: start")


def test_a_second_press_is_told_and_changes_nothing(grace: Client) -> None:
    run = frozen([refused_refund()])
    grace.post(url("start", run), {"per_second": "5", "reason": WHY})

    again = grace.post(url("start", run), {"per_second": "5", "reason": WHY})

    assert again.status_code == 409
    assert f"Nothing was changed: bulk run {run.pk} is trying the first one by now; look again." in text(again)
    assert OperatorAction.objects.count() == 1


def test_the_page_shows_how_far_it_has_come(grace: Client) -> None:
    good, bad, refused, left = (refused_refund() for _ in range(4))
    run = running([good, bad, refused, left])
    Case.objects.filter(pk=refused.pk).update(status="CLOSED", resolution="skipped")
    work_off()
    refund_at_last(good)
    again = refuse_once_more(bad)
    look_now()

    page = grace.get(url("run", run))

    assert 'role="progressbar"' in page.content.decode()
    assert 'aria-valuenow="100"' in page.content.decode()
    assert "All 4 Done 1 Requested 1 Failed again 1 Refused 1" in text(page)
    assert f"Case {again.pk}" in text(page)
    assert "closed meanwhile: skipped" in text(page)
    assert "Every case has had its turn: 1 without a result yet." in text(page)


def test_rows_are_filtered_by_outcome(grace: Client) -> None:
    good, other = refused_refund(), refused_refund()
    run = running([good, other])
    work_off()
    refund_at_last(good)
    look_now()

    page = grace.get(url("run", run), {"outcome": "DONE"}).content.decode()

    assert f'id="case-{good.pk}"' in page
    assert f'id="case-{other.pk}"' not in page


def test_the_page_asks_by_itself_while_something_may_change(grace: Client) -> None:
    case = refused_refund()
    run = started([case])
    at_work = grace.get(url("run", run)).content.decode()
    work_off()
    refund_at_last(case)
    work_off()
    look_now()

    over = grace.get(url("live", run)).content.decode()

    assert f'hx-get="{url("live", run)}?outcome=&amp;page=1" hx-trigger="every 1s"' in at_work
    assert "hx-get" not in over
    assert "<html" not in over
    assert 'hx-swap-oob="innerHTML"' in over
    assert "<script" not in over.lower()


def test_the_buttons_are_those_of_the_moment(grace: Client) -> None:
    cases = [refused_refund() for _ in range(2)]
    run = started(cases)

    def buttons() -> list[str]:
        return re.findall(r'<button id="bulk-([\w-]+)"', grace.get(url("run", run)).content.decode())

    assert buttons() == ["stop"]
    work_off()
    refund_at_last(cases[0])
    work_off()
    assert buttons() == ["go-on", "stop"]
    grace.post(url("stop", run))
    assert buttons() == ["resume"]
    grace.post(url("resume", run))
    assert buttons() == ["stop"]
    work_off()
    run.refresh_from_db()
    assert (run.phase, buttons()) == ("DONE", [])


def test_going_on_is_a_button(grace: Client) -> None:
    cases = [refused_refund() for _ in range(2)]
    run = started(cases)
    work_off()
    refund_at_last(cases[0])
    work_off()

    answer = grace.post(url("go-on", run))

    assert answer["Location"] == url("run", run)
    run.refresh_from_db()
    assert run.phase == "RUNNING"


@pytest.mark.parametrize("name", ["start", "go-on", "stop", "resume"])
def test_who_may_not_run_sees_no_button_and_is_refused_by_hand(name: str) -> None:
    bulk_operator()
    olga = User.objects.create(username="olga", is_staff=True)
    viewer = bulk_operator("eve", "retry")
    olga.user_permissions.set(viewer.user_permissions.filter(codename__in=["view_bulkrun", "retry_case"]))
    client = Client()
    client.force_login(olga)
    run = started([refused_refund()])

    page = client.get(url("run", run)).content.decode()
    answer = client.post(url(name, run), {"per_second": "5", "reason": WHY})

    assert re.findall(r'<button id="bulk-', page) == []
    assert answer.status_code == 403
    run.refresh_from_db()
    assert (run.phase, OperatorAction.objects.count()) == ("CANARY", 1)


def test_who_may_not_do_the_action_cannot_start_it(grace: Client) -> None:
    bulk_operator("ada", "skip")
    run = services.freeze(case_ids=[refused_refund().pk], action="skip", operator="ada")

    page = grace.get(url("run", run)).content.decode()
    started_by_hand = grace.post(url("start", run), {"per_second": "5", "reason": WHY})
    chosen_by_hand = grace.post(reverse("desk:bulk-new"), {"action": "skip", "case": "1"})

    assert url("start", run) not in page
    assert (started_by_hand.status_code, chosen_by_hand.status_code) == (403, 403)
    run.refresh_from_db()
    assert (run.phase, BulkRun.objects.count()) == ("PREVIEW", 1)


@pytest.mark.parametrize("name", ["run", "live", "export"])
def test_who_may_not_look_sees_nothing(name: str) -> None:
    bulk_operator()
    olga = User.objects.create(username="olga", is_staff=True)
    client = Client()
    client.force_login(olga)

    assert client.get(url(name, frozen([refused_refund()]))).status_code == 403


@pytest.mark.parametrize("name", ["new", "start", "go-on", "stop", "resume"])
def test_a_link_changes_nothing(grace: Client, name: str) -> None:
    run = frozen([refused_refund()])
    path = reverse("desk:bulk-new") if name == "new" else url(name, run)

    assert grace.get(path).status_code == 405


def test_the_results_are_exported_as_csv(grace: Client) -> None:
    good, bad = refused_refund(), refused_refund()
    run = running([good, bad])
    work_off()
    refund_at_last(good)
    look_now()
    run.rows.filter(position=2).update(result="=HYPERLINK(1)")

    answer = grace.get(url("export", run), {"format": "csv"})

    lines = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert answer["Content-Disposition"] == f'attachment; filename="bulk-run-{run.pk}.csv"'
    assert [(line["case"], line["outcome"], line["amount"], line["currency"]) for line in lines] == [
        (str(good.pk), "done", "12.50", "EUR"),
        (str(bad.pk), "requested", "12.50", "EUR"),
    ]
    assert lines[1]["result"] == "'=HYPERLINK(1)"


def test_the_results_are_exported_as_json(grace: Client) -> None:
    case = refused_refund()
    run = running([case])
    work_off()

    told = json.loads(grace.get(url("export", run), {"format": "json"}).content)

    assert (told["bulk_run"], told["action"], told["reason"], told["phase"]) == (run.pk, "retry", WHY, "DONE")
    assert [(row["case"], row["order_id"], row["outcome"]) for row in told["cases"]] == [
        (case.pk, str(case.key), "requested")
    ]


def test_the_list_of_runs_shows_how_far_each_has_come(grace: Client) -> None:
    cases = [refused_refund() for _ in range(3)]
    run = running(cases)
    work_off()
    refuse_once_more(cases[0])
    look_now()

    page = text(grace.get(reverse("admin:desk_bulkrun_changelist")))

    assert re.search(rf"#{run.pk} Retry .*done .*3 of 3 1 grace", page)


def test_the_admin_page_of_a_run_is_its_own_page(grace: Client) -> None:
    run = frozen([refused_refund()])

    answer = grace.get(reverse("admin:desk_bulkrun_change", args=[run.pk]))

    assert answer["Location"] == url("run", run)


def test_an_error_text_cannot_inject_markup(grace: Client) -> None:
    run = frozen([refused_refund()])
    run.rows.update(result="<script>alert(1)</script>", status="REFUSED", group="<b>x</b>")

    page = grace.get(url("run", run)).content.decode()

    assert "<script>alert(1)" not in page
    assert "<b>x</b>" not in page


def test_long_runs_are_paged(grace: Client) -> None:
    run = frozen([refused_refund()])
    row = run.rows.get()
    for number in range(2, 60):
        row.pk, row.position, row.case_id = None, number, row.case_id + 10_000
        row.save()
    BulkRun.objects.update(size=59)

    first = grace.get(url("run", run)).content.decode()
    second = grace.get(url("run", run), {"page": "2"}).content.decode()

    assert (len(re.findall(r'id="case-', first)), len(re.findall(r'id="case-', second))) == (50, 9)
    assert "Page 1 of 2" in first
