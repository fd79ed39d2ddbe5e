"""Four roles from one table: the migrations make them, changes by hand stay, and every page obeys them."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from desk import roles
from outbox.models import Message
from sagas import services
from sagas.models import Approval, OperatorAction
from tests.architecture.rooms import ROOMS
from tests.factories.cases import deliveries_of, refused_refund, running_saga
from tests.integration.config.doors import Page, pages_of_the_desk

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("roles_made")]

# Who has no role at all may come in and sees nothing.
NONE = "no role"
ALL = frozenset({NONE, "viewer", "operator", "approver", "administrator"})
SEE = ALL - {NONE}
ACT = frozenset({"operator", "administrator"})
DECIDE = frozenset({"approver", "administrator"})
RUN = frozenset({"administrator"})
NOBODY: frozenset[str] = frozenset()

# Pages of no table, and those of a table that are more than looking at it.
PAGES = {
    "second-factor": ALL,
    "second-factor-setup": ALL,
    "admin:index": ALL,
    "admin:login": ALL,
    "admin:logout": ALL,
    "admin:jsi18n": ALL,
    "admin:password_change": ALL,
    "admin:password_change_done": ALL,
    # Finds pages by name, and only those that the reader may see.
    "admin:search": ALL,
    "admin:view_on_site": ALL,
    # Leads to the run's page below.
    "admin:desk_bulkrun_change": ALL,
    "admin:autocomplete": NOBODY,
    "admin:app_list": RUN,
    "admin:auth_user_add": RUN,
    "admin:auth_user_password_change": RUN,
    "admin:auth_user_reset_codes": RUN,
    "admin:auth_group_add": RUN,
    "admin:sagas_case_retry": ACT,
    "admin:sagas_case_skip": ACT,
    "admin:sagas_case_resolve": ACT,
    "admin:sagas_case_abandon": ACT,
    "admin:sagas_case_approve": DECIDE,
    "admin:sagas_case_decline": DECIDE,
    "admin:sagas_approval_approve": DECIDE,
    "admin:sagas_approval_decline": DECIDE,
    "desk:order": SEE,
    "desk:order-evidence": ACT | DECIDE,
    "desk:groups": SEE,
    "desk:case-freshness": SEE,
    "desk:case-owner": ACT,
    "desk:case-note": ACT,
    "desk:runbook": SEE,
    "desk:case-edit": ACT,
    "desk:saga-action": ACT,
    "desk:order-cancel": ACT,
    "desk:message-redeliver": ACT,
    "desk:log-export": DECIDE,
    "desk:switches": SEE,
    "desk:switch": RUN,
    "desk:bulk-new": ACT,
    "desk:bulk-run": SEE,
    "desk:bulk-live": SEE,
    "desk:bulk-start": ACT,
    "desk:bulk-go-on": ACT,
    "desk:bulk-stop": ACT,
    "desk:bulk-resume": ACT,
    "desk:bulk-export": SEE,
}
LEADS = re.compile(r'(?:href|action|formaction|hx-get|hx-post)="(/admin/[^"?#]*)')
OF_ADMINISTRATORS = ("admin:auth_", "admin:composition_")
WRITTEN = {"admin:auth_user_change", "admin:auth_group_change"}


def readers(name: str) -> frozenset[str]:
    """Return who may open a page."""
    if name in PAGES:
        return PAGES[name]
    if name.endswith(("_add", "_delete")):
        return NOBODY
    assert name.endswith(("_changelist", "_change", "_history")), f"say in PAGES who may open {name}"
    return RUN if name.startswith(OF_ADMINISTRATORS) else SEE


def writers(name: str) -> frozenset[str]:
    """Return who may send something to a page."""
    is_read_only = name.endswith("_change") and name not in WRITTEN and name not in PAGES
    return NOBODY if is_read_only else readers(name)


def person(role: str) -> Client:
    user = User.objects.create(username=role.replace(" ", "-"), is_staff=True)
    user.groups.set(Group.objects.filter(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def story(settings: Settings) -> list[Page]:
    """Fill the desk, and return its pages with rows that exist in their addresses."""
    # The test's own transaction is open: nobody outside may be called.
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="grace", reason="r")
    action = OperatorAction.objects.latest("pk")
    return pages_of_the_desk(
        {
            "sagas_case": case.pk,
            "case_id": case.pk,
            "sagas_sagainstance": case.saga_id,
            "saga_id": running_saga().pk,
            "sagas_approval": Approval.objects.get().pk,
            "sagas_operatoraction": action.pk,
            "outbox_message": Message.objects.latest("pk").pk,
            "outbox_delivery": deliveries_of(case).values_list("pk", flat=True).get(),
            "order_id": case.key,
            "message_id": Message.objects.filter(kind="event").latest("pk").pk,
            "auth_user": User.objects.create(username="ada").pk,
            "auth_group": Group.objects.get(name="viewer").pk,
            "action": "compensate",
            "kind": "destination",
            "verb": "pause",
        }
    )


@pytest.mark.parametrize("role", sorted(ALL))
def test_each_page_opens_for_whom_the_table_says_and_shows_no_button_to_another(story: list[Page], role: str) -> None:
    answers = visited(person(role), "get", story)

    assert opened(answers) == {page.name for page in answers if role in readers(page.name)}
    names = {page.path: page.name for page in story}
    pages = [each for each in answers.values() if each.status_code == 200 and "html" in each["Content-Type"]]
    shown = {path for page in pages for path in LEADS.findall(page.content.decode())}
    assert {path: names[path] for path in shown & set(names) if role not in readers(names[path])} == {}
    assert (reverse("admin:sagas_case_changelist") in shown) == (role in SEE)


@pytest.mark.parametrize("role", sorted(ALL))
def test_each_page_takes_something_from_whom_the_table_says(story: list[Page], role: str) -> None:
    answers = visited(person(role), "post", story)

    assert opened(answers) == {page.name for page in answers if role in writers(page.name)}


def visited(client: Client, method: str, pages: list[Page]) -> dict[Page, Any]:
    """Return what each page answers, but for those that are no door to anybody.

    A row that is missing leads home, whoever asks; a page that takes nothing says so to everybody. Signing out comes
    last: it would end the others.
    """
    ordered = sorted(pages, key=lambda page: page.name == "admin:logout")
    answers = {page: getattr(client, method)(page.path) for page in ordered}
    assert [page.path for page, answer in answers.items() if answer.status_code >= 500] == []
    return {page: each for page, each in answers.items() if each.status_code != 405 and not _is_missing(page, each)}


def opened(answers: dict[Page, Any]) -> set[str]:
    """Return the names of the pages that opened."""
    return {page.name for page, answer in answers.items() if _is_open(page, answer)}


def _is_open(page: Page, answer: Any) -> bool:
    if answer.status_code == 302:
        return not answer["Location"].startswith("/admin/login/")
    return answer.status_code != 403 and not (page.name == "admin:app_list" and answer.status_code == 404)


def _is_missing(page: Page, answer: Any) -> bool:
    return page.name.endswith(("_history", "_change")) and answer.status_code == 302 and answer["Location"] == "/admin/"


def test_nobody_gets_in_without_signing_in(story: list[Page]) -> None:
    pages = [page for page in story if page.name not in {"admin:login", "admin:logout"}]

    locations = {Client().get(page.path).get("Location", "") for page in pages}
    locations |= {Client().post(page.path).get("Location", "") for page in pages}

    assert {location.partition("?")[0] for location in locations} == {"/admin/login/"}


def test_the_migrations_make_the_roles_as_the_table_says() -> None:
    assert roles.unknown() == []
    assert [each for each in roles.drift() if each] == []
    assert [role.name for role in roles.ROLES] == ["viewer", "operator", "approver", "administrator"]


def test_every_permission_of_ours_is_some_roles() -> None:
    ours = {
        f"{model._meta.app_label}.{codename}"
        for model in apps.get_models()
        if model.__module__.split(".")[0] in ROOMS
        for codename, _ in model._meta.permissions
    }
    given = set(roles.expected(roles.ROLES[-1]))

    assert ours - given == set()
    assert "sagas.retry_case" in ours


def test_what_was_changed_by_hand_stays() -> None:
    viewer = Group.objects.get(name="viewer")
    viewer.permissions.set([Permission.objects.get(codename="view_case")])
    Group.objects.get(name="approver").delete()

    assert roles.install(using="default") == ["approver"]
    assert [p.codename for p in viewer.permissions.all()] == ["view_case"]
    assert Group.objects.get(name="approver").permissions.filter(codename="approve_case").exists()


def test_a_release_gives_what_it_brings_to_the_roles_of_the_table_and_nothing_else() -> None:
    for group in Group.objects.all():
        group.permissions.clear()

    roles.grant(["sagas.retry_case", "sagas.view_case"], using="default")

    given = {group.name: sorted(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    assert given == {
        "viewer": ["view_case"],
        "operator": ["retry_case", "view_case"],
        "approver": ["view_case"],
        "administrator": ["retry_case", "view_case"],
    }


def test_a_role_is_whole_although_its_permissions_are_not_declared_yet() -> None:
    Group.objects.all().delete()
    Permission.objects.filter(content_type__app_label__in=["sagas", "desk"]).delete()

    roles.install(using="default")

    assert [each for each in roles.drift() if each] == []


def test_the_command_tells_how_roles_differ_and_mends_them(capsys: pytest.CaptureFixture[str]) -> None:
    viewer = Group.objects.get(name="viewer")
    viewer.permissions.add(Permission.objects.get(codename="abandon_case"))
    viewer.permissions.remove(Permission.objects.get(codename="view_case"))
    Group.objects.get(name="operator").delete()

    with pytest.raises(CommandError, match="roles differ from the table") as failure:
        call_command("desk_roles", json=True)
    told = {each["role"]: each for each in json.loads(capsys.readouterr().out)["roles"]}
    call_command("desk_roles", apply=True, reason="the audit asks for it", stdout=io.StringIO())

    assert failure.value.returncode == 1
    assert told["viewer"] == {
        "role": "viewer",
        "absent": False,
        "lacks": ["sagas.view_case"],
        "has_too_many": ["sagas.abandon_case"],
    }
    assert told["operator"]["absent"] is True
    assert [each for each in roles.drift() if each] == []
    assert list(OperatorAction.objects.order_by("pk").values_list("action", "seen__about", "reason")) == [
        ("apply role", "role viewer", "the audit asks for it"),
        ("apply role", "role operator", "the audit asks for it"),
    ]
