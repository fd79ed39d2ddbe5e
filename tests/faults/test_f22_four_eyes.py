"""F22, four eyes: whoever asks for much money to move cannot approve it himself, whichever door he takes."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import get_resolver, reverse
from pytest_django import Settings

from sagas import services
from sagas.engine import Refused
from sagas.four_eyes import Lapsed, MayNotApprove, NotAPerson, SamePerson
from sagas.models import Approval, Case, OperatorAction, SagaInstance
from tests.command_line import Ended, run
from tests.factories.cases import is_dead, refused_refund, running_saga
from tests.factories.people import colleague
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

WHY = "the customer called"
ACTIONS = ["retry", "skip", "resolve", "abandon"]


@pytest.fixture(autouse=True)
def _small_limit(settings: Settings) -> None:
    """Every order of the tests is over 12.50, and that is much."""
    settings.FOUR_EYES_AMOUNT = {"": 1_249}


def state(case: Case) -> tuple[Any, ...]:
    """Return all that an action could change."""
    case.refresh_from_db()
    saga = SagaInstance.objects.get(key=case.key)
    return saga.status, saga.steps, saga.updated_at, case.status, case.resolution, is_dead(case)


def ask(case: Case, action: str = "retry", operator: str = "grace") -> Approval:
    """Let somebody ask; return the request."""
    more = {"reference": "SEPA-1"} if action == "resolve" else {}
    service = getattr(services, action)
    assert service(saga_id=case.saga_id, operator=operator, reason=WHY, **more) == "awaits approval"
    return Approval.objects.get(status="REQUESTED", saga=case.saga_id)


def log() -> list[tuple[str, str, str, str]]:
    """Return who did what, with whose approval, and what came of it."""
    rows = OperatorAction.objects.order_by("id")
    return list(rows.values_list("operator", "action", "approved_by", "result"))


# --- the service ---


@pytest.mark.parametrize("action", ACTIONS)
def test_f22_asking_changes_nothing_and_another_person_carries_it_out(action: str) -> None:
    """Both names are in the log, with what was asked, approved and done."""
    case = refused_refund()
    before = state(case)
    colleague("ada", "approve_case")

    approval = ask(case, action)
    assert state(case) == before
    result = services.approve(approval_id=approval.pk, operator="ada", reason="I rang him")

    case.refresh_from_db()
    assert (case.status, case.reason) == ("CLOSED", WHY)
    assert log() == [
        ("grace", f"request {action}", "", "awaits approval"),
        ("grace", action, "ada", result),
        ("ada", f"approve {action}", "", result),
    ]
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by, approval.amount) == ("CARRIED_OUT", "ada", 1250)


def test_f22_a_running_saga_is_turned_back_by_two() -> None:
    """Turning back refunds, so it moves money too."""
    saga = running_saga()
    colleague("ada", "approve_case")

    assert services.compensate(saga_id=saga.pk, operator="grace", reason=WHY) == "awaits approval"
    assert SagaInstance.objects.get(pk=saga.pk).status == "RUNNING"
    services.approve(approval_id=Approval.objects.get().pk, operator="ada")

    assert SagaInstance.objects.get(pk=saga.pk).status == "COMPENSATING"


@pytest.mark.parametrize("name", ["grace", "Grace", " GRACE ", "cli:grace", "ｇｒａｃｅ"])
def test_f22_the_requester_is_refused_however_he_writes_his_name(name: str) -> None:
    """With the permission to approve, too."""
    case = refused_refund()
    User.objects.create(username=name.strip(), is_superuser=True)
    approval = ask(case)
    before = (state(case), log())

    with pytest.raises(SamePerson, match="somebody other than grace"):
        services.approve(approval_id=approval.pk, operator=name)

    assert (state(case), log()) == before


@pytest.mark.parametrize("who", ["nobody", "looker", "leaver"])
def test_f22_a_second_person_needs_the_permission(who: str) -> None:
    """A name is not enough: an account of the desk must stand behind it, active, and allowed to approve."""
    colleague("looker", "view_case", "retry_case")
    User.objects.filter(pk=colleague("leaver", "approve_case").pk).update(is_active=False)
    case = refused_refund()
    approval = ask(case)
    before = state(case)

    with pytest.raises(MayNotApprove, match=who):
        services.approve(approval_id=approval.pk, operator=who)
    with pytest.raises(MayNotApprove, match=who):
        services.decline(approval_id=approval.pk, operator=who)

    assert state(case) == before


def test_f22_a_request_about_a_saga_that_has_changed_is_refused() -> None:
    """The approver approves what the requester saw, nothing else."""
    case = refused_refund()
    colleague("ada", "approve_case")
    approval = ask(case)
    SagaInstance.objects.filter(key=case.key).update(updated_at=Now())
    before = state(case)

    with pytest.raises(Lapsed, match="has changed since grace asked"):
        services.approve(approval_id=approval.pk, operator="ada")

    assert state(case) == before
    assert ask(case).pk != approval.pk


def test_f22_a_request_expires() -> None:
    """A day later the world looks different; it can be asked again."""
    case = refused_refund()
    colleague("ada", "approve_case")
    approval = ask(case)
    Approval.objects.update(expires_at=Now() - timedelta(seconds=1))

    with pytest.raises(Lapsed, match="has expired"):
        services.approve(approval_id=approval.pk, operator="ada")

    assert is_dead(case) == [True]
    services.approve(approval_id=ask(case).pk, operator="ada")
    assert is_dead(case) == [False]


def test_f22_what_cannot_be_done_cannot_be_asked_for() -> None:
    """The refusal comes at once, not when somebody has looked into it."""
    saga = running_saga()

    with pytest.raises(Refused, match="nothing is stuck"):
        services.skip(saga_id=saga.pk, operator="grace", reason=WHY)

    assert not Approval.objects.exists()


def test_f22_a_declined_request_is_over_and_the_requester_may_take_it_back_himself() -> None:
    """Nothing is done in either case."""
    case = refused_refund()
    colleague("ada", "approve_case")
    before = state(case)

    services.decline(approval_id=ask(case).pk, operator="ada", reason="not so")
    services.decline(approval_id=ask(case).pk, operator="grace")

    assert state(case) == before
    with pytest.raises(Lapsed, match="declined already"):
        services.approve(approval_id=Approval.objects.latest("pk").pk, operator="ada")


def test_f22_two_who_approve_at_once_do_it_once() -> None:
    """One of them is told."""
    case = refused_refund()
    colleague("ada", "approve_case")
    colleague("eve", "approve_case")
    approval = ask(case, "skip")

    def approve(name: str) -> str:
        try:
            return services.approve(approval_id=approval.pk, operator=name)
        except Lapsed as refusal:
            return str(refusal)

    results = side_by_side([lambda: approve("ada"), lambda: approve("eve")])

    assert sorted(results) == [f"approval {approval.pk} is carried out already", "requested"]
    assert [entry[1] for entry in log()].count("skip") == 1


def test_f22_somebody_elses_request_is_not_pushed_aside() -> None:
    """One question at a time about one saga."""
    case = refused_refund()
    approval = ask(case, "retry", "grace")

    with pytest.raises(Refused, match=f"grace has asked for retry already: approval {approval.pk}"):
        services.skip(saga_id=case.saga_id, operator="eve", reason=WHY)  # type: ignore[arg-type]


def test_f22_small_sums_are_one_persons_business_and_abandoning_never_is(settings: Settings) -> None:
    """The limit counts by currency; what is given up is given up by two."""
    settings.FOUR_EYES_AMOUNT = {"": 0, "EUR": 1_250}
    first, second = refused_refund(), refused_refund()

    assert services.retry(saga_id=first.saga_id, operator="grace", reason=WHY) == "requested"  # type: ignore[arg-type]
    assert services.abandon(saga_id=second.saga_id, operator="grace", reason=WHY) == "awaits approval"  # type: ignore[arg-type]


# --- the shell ---


def shell(monkeypatch: pytest.MonkeyPatch, *arguments: object, password: str = "") -> Ended:
    """Run a command with a password on its standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    return run(*arguments)


def test_f22_on_the_shell_the_requester_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever acts there for much money says who he is, and proves it."""
    case = refused_refund()
    colleague("grace", "resolve_case", "approve_case", password="grace's own")
    colleague("ada", "approve_case", password="ada's own")
    asked = ("saga_resolve", case.key, "--reason", WHY, "--reference", "SEPA-1")

    nameless = shell(monkeypatch, *asked)
    forged = shell(monkeypatch, *asked, "--operator", "grace", password="a guess")
    request = shell(monkeypatch, *asked, "--operator", "grace", "--json", password="grace's own")
    number = request.json["approval"]
    own = shell(monkeypatch, "saga_approve", number, "--operator", "grace", password="grace's own")
    account = shell(monkeypatch, "saga_approve", number)
    assert is_dead(case) == [True]
    second = shell(monkeypatch, "saga_approve", number, "--operator", "ada", password="ada's own")

    assert [ended.code for ended in (nameless, forged, request, own, account, second)] == [2, 2, 0, 2, 2, 0]
    assert "--operator" in nameless.err
    assert "knows no 'grace' with this password" in forged.err
    assert request.json["result"] == "awaits approval"
    assert "you asked for it yourself" in own.err
    assert "may not approve" in account.err
    assert second.out == f"approval {number}: requested\n"
    assert ("grace", "resolve", "ada", "requested") in log()


def test_f22_a_machine_account_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows which person types there."""
    case = refused_refund()

    with pytest.raises(NotAPerson):
        services.retry(saga_id=case.saga_id, operator="cli:root", reason=WHY)  # type: ignore[arg-type]

    assert not Approval.objects.exists()


# --- the desk ---


def desk(name: str, *permissions: str) -> Client:
    """Log a person in."""
    client = Client()
    client.force_login(colleague(name, "view_case", *permissions))
    return client


def page_of(case: Case, action: str) -> str:
    return reverse("admin:sagas_case_change", args=[case.pk]).replace("/change/", f"/{action}/")


def words(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def test_f22_on_the_desk_one_asks_and_another_approves() -> None:
    """The button says so, and the requester who presses it himself is refused."""
    case = refused_refund()
    grace, ada = desk("grace", "retry_case", "approve_case"), desk("ada", "approve_case")
    page = grace.get(page_of(case, "retry"))
    seen = re.search(r'name="seen" value="([^"]+)"', page.content.decode())
    assert seen is not None

    asked = grace.post(page_of(case, "retry"), {"reason": WHY, "seen": seen[1]}, follow=True)
    own = grace.post(page_of(case, "approve"), {"reason": "mine"}, follow=True)
    assert is_dead(case) == [True]
    offer = ada.get(page_of(case, "approve"))
    approved = ada.post(page_of(case, "approve"), {"reason": "I rang him"}, follow=True)

    assert "Ask for approval: Retry" in words(page)
    assert "Another person has to approve it first." in words(asked)
    assert own.status_code == 403
    assert "You asked for it yourself: somebody other than grace must approve" in words(own)
    assert f"grace has asked for it: {WHY}" in words(offer)
    assert "Retry: requested." in words(approved)
    assert is_dead(case) == [False]


def test_f22_on_the_desk_the_button_takes_the_permission() -> None:
    """Whoever may retry may not therefore approve."""
    case = refused_refund()
    ask(case)
    eve = desk("eve", "retry_case")

    page, answer = eve.get(page_of(case, "change")), eve.post(page_of(case, "approve"), {"reason": "mine"})

    assert page_of(case, "approve") not in page.content.decode()
    assert answer.status_code == 403
    assert is_dead(case) == [True]


def test_f22_a_declined_request_on_the_desk_does_nothing() -> None:
    """The case stays open, and the buttons are gone."""
    case = refused_refund()
    ask(case, "abandon")
    ada = desk("ada", "approve_case")

    answer = ada.post(page_of(case, "decline"), {"reason": "wait for the bank"}, follow=True)

    assert "Abandon: declined." in words(answer)
    assert page_of(case, "approve") not in answer.content.decode()
    assert Case.objects.get(pk=case.pk).status == "OPEN"


def test_f22_a_message_outside_any_saga_is_given_up_by_two() -> None:
    """Discarding it may forgive something too; nobody can tell from a message that could not be read."""
    case = refused_refund()
    Case.objects.filter(pk=case.pk).update(saga=None, destination="payments")
    colleague("ada", "approve_case")

    asked = services.close_message_case(case_id=case.pk, operator="grace", action="abandon", reason=WHY)
    assert is_dead(case) == [True]
    approved = services.approve(approval_id=Approval.objects.get().pk, operator="ada")

    assert (asked, approved) == ("awaits approval", "done")
    assert is_dead(case) == []


# --- the API ---


def test_f22_the_api_has_no_such_door() -> None:
    """Customers and services can neither ask nor approve: no address outside the desk leads to these actions."""
    addresses = {str(pattern.pattern) for pattern in get_resolver().url_patterns}
    outside = [name for name in get_resolver().reverse_dict if isinstance(name, str)]

    assert "admin/" in addresses
    assert [name for name in outside if re.search(r"approv|saga|case|skip|resolve|abandon|compensate", name)] == []
