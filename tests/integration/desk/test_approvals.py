"""The inbox of requests: one person asks, another looks and decides, whoever asked is told why not he himself."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django import Settings

from sagas import four_eyes, services, tasks
from sagas.models import Approval, Case, OperatorAction, SagaInstance
from sagas.selectors import refresh_gauges
from tests.command_line import run
from tests.factories.bulk import bulk_operator, started, work_off
from tests.factories.cases import is_dead, refused_refund, running_saga
from tests.factories.people import colleague

pytestmark = pytest.mark.django_db

WHY = "the customer called"


@pytest.fixture(autouse=True)
def _small_limit(settings: Settings) -> None:
    """Every order of the tests is over 12.50, and that is much."""
    settings.FOUR_EYES_AMOUNT = {"": 1_249}


def person(name: str, *permissions: str) -> Client:
    """Log a person in who has these permissions."""
    user = User.objects.create(username=name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def approver(name: str = "ada") -> Client:
    return person(name, "view_approval", "approve_case", "view_case")


def ask(case: Case, action: str = "retry", operator: str = "grace") -> Approval:
    """Let somebody ask; return the request."""
    more = {"reference": "SEPA-1"} if action == "resolve" else {}
    service = getattr(services, action)
    assert service(saga_id=case.saga_id, operator=operator, origin="192.0.2.1", reason=WHY, **more) == "awaits approval"
    return Approval.objects.get(status="REQUESTED", saga=case.saga_id)


def page_of(approval: Approval, page: str = "change") -> str:
    return reverse(f"admin:sagas_approval_{page}", args=[approval.pk])


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def inbox(client: Client, **query: str) -> Any:
    return client.get(reverse("admin:sagas_approval_changelist"), query)


def state() -> list[object]:
    return [
        list(SagaInstance.objects.values_list("pk", "status", "steps", "updated_at")),
        list(Case.objects.values_list("pk", "status", "resolution")),
        list(Approval.objects.values_list("pk", "status", "decided_by")),
        OperatorAction.objects.count(),
        [is_dead(case) for case in Case.objects.order_by("pk")],
    ]


# --- what the inbox tells ---


def test_the_inbox_tells_what_of_which_order_how_much_who_and_how_long() -> None:
    case = refused_refund()
    ask(case, "resolve")

    page = text(inbox(approver()))

    for words in ("Resolve by hand", "12.50 EUR", "grace", f"{WHY} (SEPA-1)", "23 h 59 min", "waiting"):
        assert words in page
    assert str(case.key)[:8] in page


def test_an_empty_inbox_says_so() -> None:
    page = text(inbox(approver()))

    assert "Nothing waits for a second person." in page
    assert "Apply Filters" in page


def test_what_expires_first_is_on_top_and_what_is_over_is_not_shown() -> None:
    later, sooner, over = (ask(refused_refund()) for _ in range(3))
    Approval.objects.filter(pk=sooner.pk).update(expires_at=Now() + timedelta(minutes=5))
    ada = approver()
    services.decline(approval_id=over.pk, operator="ada")

    shown, declined = inbox(ada), inbox(ada, status="DECLINED")

    assert [row.pk for row in shown.context["cl"].result_list] == [sooner.pk, later.pk]
    assert [row.pk for row in declined.context["cl"].result_list] == [over.pk]
    assert "4 min 59 s" in text(shown)


def test_the_inbox_reads_no_saga_and_costs_the_same_for_many() -> None:
    ask(refused_refund())
    ada = approver()
    inbox(ada)
    with CaptureQueriesContext(connection) as one:
        inbox(ada)
    for _ in range(4):
        ask(refused_refund())
    with CaptureQueriesContext(connection) as many:
        inbox(ada)

    assert len(many) == len(one)
    assert '"sagas_sagainstance"."steps"' not in " ".join(query["sql"] for query in many.captured_queries)


def test_a_request_is_found_by_its_order() -> None:
    wanted, _other = ask(refused_refund()), ask(refused_refund())

    found = inbox(approver(), q=str(wanted.key))

    assert [row.pk for row in found.context["cl"].result_list] == [wanted.pk]


def test_who_may_not_see_approvals_gets_403() -> None:
    approval = ask(refused_refund())
    olga = person("olga", "view_case", "retry_case")

    answers = [inbox(olga), olga.get(page_of(approval)), olga.get(page_of(approval, "approve"))]

    assert [answer.status_code for answer in answers] == [403, 403, 403]


# --- the page of a request ---


def test_a_request_shows_what_was_seen_then_and_what_there_is_now() -> None:
    approval = ask(refused_refund())

    page = text(approver().get(page_of(approval)))

    assert "Nothing has been done yet, and nothing has changed since it was asked for." in page
    assert "Steps as grace saw them: the saga was SUSPENDED" in page
    assert "Steps now: the saga is SUSPENDED" in page
    assert "192.0.2.1" in page
    assert "Approve: Retry" in page


def test_a_saga_that_has_changed_since_is_said_so_and_cannot_be_approved() -> None:
    approval = ask(refused_refund())
    SagaInstance.objects.update(updated_at=Now() + timedelta(seconds=1))
    ada, before = approver(), state()

    page = text(ada.get(page_of(approval)))
    answer = ada.post(page_of(approval, "approve"), {"reason": "yes"})

    assert "The saga has changed since grace asked" in page
    assert "Approve: Retry" not in page
    assert (answer.status_code, state()) == (409, before)
    assert "The saga has changed since grace asked" in text(answer)


# --- approve and decline ---


@pytest.mark.parametrize("action", ["retry", "skip", "resolve", "abandon"])
def test_a_second_person_approves_at_the_desk(action: str) -> None:
    case = refused_refund()
    approval = ask(case, action)
    ada = approver()

    preview = ada.get(page_of(approval, "approve"))
    answer = ada.post(page_of(approval, "approve"), {"reason": "I rang him"}, REMOTE_ADDR="192.0.2.9")

    assert preview.status_code == 200
    assert f"grace has asked for it: {WHY}" in text(preview)
    assert "Steps as grace saw them" in text(preview)
    assert answer.status_code == 302
    case.refresh_from_db()
    approval.refresh_from_db()
    assert (case.status, approval.status, approval.decided_by) == ("CLOSED", "CARRIED_OUT", "ada")
    lines = OperatorAction.objects.order_by("id").values_list("operator", "origin", "action", "approved_by")
    assert list(lines) == [
        ("grace", "192.0.2.1", f"request {action}", ""),
        ("grace", "192.0.2.1", action, "ada"),
        ("ada", "192.0.2.9", f"approve {action}", ""),
    ]


@pytest.mark.parametrize("action", ["compensate", "cancel"])
def test_a_saga_is_turned_back_by_two_at_the_desk(action: str) -> None:
    """There is no case yet: the request is about the saga alone."""
    saga = running_saga()
    service = getattr(services, action)
    assert service(saga_id=saga.pk, operator="grace", reason=WHY) == "awaits approval"
    approval, ada = Approval.objects.get(), approver()

    preview = ada.get(page_of(approval, "approve"))
    before = SagaInstance.objects.get().status
    answer = ada.post(page_of(approval, "approve"), {"reason": "he is right"})

    assert "The saga turns back from where it is" in text(preview)
    assert (before, answer.status_code) == ("RUNNING", 302)
    assert SagaInstance.objects.get().status == "COMPENSATING"
    assert Approval.objects.get().status == "CARRIED_OUT"


def test_a_request_is_declined_with_a_reason_and_nothing_is_done() -> None:
    case = refused_refund()
    approval = ask(case)
    ada = approver()

    answer = ada.post(page_of(approval, "decline"), {"reason": "wait for the bank"})

    assert answer.status_code == 302
    assert (Approval.objects.get().status, Case.objects.get().status, is_dead(case)) == ("DECLINED", "OPEN", [True])
    last = OperatorAction.objects.latest("id")
    assert (last.operator, last.action, last.reason) == ("ada", "decline retry", "wait for the bank")


@pytest.mark.parametrize("page", ["approve", "decline"])
def test_a_decision_takes_a_reason(page: str) -> None:
    approval = ask(refused_refund())
    ada, before = approver(), state()

    answer = ada.post(page_of(approval, page), {"reason": " "})

    assert (answer.status_code, state()) == (200, before)


@pytest.mark.parametrize("page", ["approve", "decline"])
def test_without_the_permission_a_request_by_hand_is_403(page: str) -> None:
    approval = ask(refused_refund())
    olga, before = person("olga", "view_approval", "retry_case"), state()

    shown = olga.get(page_of(approval))
    answer = olga.post(page_of(approval, page), {"reason": "mine"})

    assert shown.status_code == 200
    assert "Approve: Retry" not in text(shown)
    assert (answer.status_code, state()) == (403, before)


def test_the_requester_sees_it_cannot_approve_it_and_may_take_it_back() -> None:
    case = refused_refund()
    approval = ask(case)
    grace, before = approver("grace"), state()

    listed, shown = inbox(grace), grace.get(page_of(approval))
    looked, own = grace.get(page_of(approval, "approve")), grace.post(page_of(approval, "approve"), {"reason": "mine"})
    unchanged = state()
    back = grace.post(page_of(approval, "decline"), {"reason": "not needed any more"})

    assert [row.pk for row in listed.context["cl"].result_list] == [approval.pk]
    assert "You have asked for it yourself, so somebody else has to approve it." in text(shown)
    assert "Approve: Retry" not in text(shown)
    assert "Take back: Retry" in text(shown)
    assert (looked.status_code, own.status_code, unchanged) == (403, 403, before)
    assert "You asked for it yourself: somebody other than grace must approve" in text(own)
    assert (back.status_code, Approval.objects.get().status, is_dead(case)) == (302, "DECLINED", [True])


def test_who_asked_may_take_it_back_without_the_right_to_approve() -> None:
    ask(refused_refund())
    grace = person("grace", "view_approval", "view_case", "retry_case")

    answer = grace.post(page_of(Approval.objects.get(), "decline"), {"reason": "not needed any more"})

    assert (answer.status_code, Approval.objects.get().status) == (302, "DECLINED")


def test_what_is_decided_cannot_be_decided_again() -> None:
    approval = ask(refused_refund())
    ada = approver()
    ada.post(page_of(approval, "approve"), {"reason": "yes"})
    before = state()

    answer = ada.post(page_of(approval, "approve"), {"reason": "once more"})

    assert (answer.status_code, state()) == (409, before)


# --- requests expire ---


def test_a_request_that_nobody_approved_in_time_lapses_and_is_told() -> None:
    case = refused_refund()
    expired, fresh = ask(case), ask(refused_refund())
    Approval.objects.filter(pk=expired.pk).update(expires_at=Now() - timedelta(seconds=1))

    tasks.lapse_requests()

    status = dict(Approval.objects.values_list("pk", "status"))
    assert status == {expired.pk: "LAPSED", fresh.pk: "REQUESTED"}
    line = OperatorAction.objects.latest("id")
    assert (line.operator, line.action, line.key, line.saga_id) == ("sweep", "lapse retry", case.key, case.saga_id)
    assert (line.reason, line.seen["requested_by"]) == ("nobody approved it in time", "grace")
    assert (is_dead(case), four_eyes.lapse_overdue()) == ([True], 0)


def test_a_request_about_a_saga_that_has_gone_on_lapses_too() -> None:
    ask(refused_refund())
    SagaInstance.objects.update(updated_at=Now() + timedelta(seconds=1))

    assert four_eyes.lapse_overdue() == 1

    assert Approval.objects.get().status == "LAPSED"
    assert OperatorAction.objects.latest("id").reason == "the saga has changed since it was asked for"


def test_an_expired_request_is_shown_as_such_before_the_sweep_comes() -> None:
    approval = ask(refused_refund())
    Approval.objects.update(expires_at=Now() - timedelta(seconds=1))
    ada, before = approver(), state()

    page = text(ada.get(page_of(approval)))
    answer = ada.post(page_of(approval, "approve"), {"reason": "yes"})

    assert "Nobody approved it in time: ask again." in page
    assert (answer.status_code, state()) == (409, before)


def test_the_metrics_tell_how_many_wait_and_how_long() -> None:
    def measured() -> tuple[float | None, float | None]:
        refresh_gauges(timezone.now())
        names = ("saga_approvals_waiting", "saga_approval_oldest_seconds")
        first, second = (REGISTRY.get_sample_value(name) for name in names)
        return first, second

    assert measured() == (0, 0)
    ask(refused_refund())
    Approval.objects.update(requested_at=Now() - timedelta(minutes=10))

    waiting, oldest = measured()
    assert waiting == 1
    assert oldest == pytest.approx(600, abs=30)


# --- every door ---


def test_every_action_on_much_money_only_asks() -> None:
    """Whatever the door, it ends in one of these."""
    actions = ("retry", "skip", "resolve", "abandon")
    for action in actions:
        case = refused_refund()
        ask(case, action)
        assert (Case.objects.get(pk=case.pk).status, is_dead(case)) == ("OPEN", [True])
    for action in ("compensate", "cancel"):
        saga = running_saga()
        assert getattr(services, action)(saga_id=saga.pk, operator="grace", reason=WHY) == "awaits approval"
        assert SagaInstance.objects.get(pk=saga.pk).status == "RUNNING"

    assert sorted(Approval.objects.values_list("action", flat=True)) == sorted([*actions, "compensate", "cancel"])


def test_on_the_shell_a_cancel_of_much_money_is_only_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    saga = running_saga()

    ended = run("saga_compensate", saga.key, "--reason", WHY)

    assert ended.code == 2
    assert "second person" in ended.err
    assert (SagaInstance.objects.get().status, Approval.objects.count()) == ("RUNNING", 0)


def test_in_bulk_the_requester_cannot_approve_his_rows() -> None:
    bulk_operator()
    case = refused_refund()
    started([case])
    work_off()
    approval = Approval.objects.get()
    asker = User.objects.get(username=approval.requested_by)
    asker.user_permissions.add(*Permission.objects.filter(codename__in=["approve_case", "view_approval"]))
    own = Client()
    own.force_login(asker)
    colleague("ada", "approve_case")

    answer = own.post(page_of(approval, "approve"), {"reason": "mine"})

    assert (answer.status_code, is_dead(case)) == (403, [True])
    assert services.approve(approval_id=approval.pk, operator="ada") == "requested"
    assert is_dead(case) == [False]
