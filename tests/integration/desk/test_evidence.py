"""The evidence of an order: complete, redacted, sealed by a hash, and its download is written down."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from uuid_utils.compat import uuid7

from desk.timeline.entries import whole_story
from desk.timeline.evidence import PERMISSIONS, canonical, seal
from outbox.models import Attempt, Message
from sagas.models import OperatorAction
from tests.factories.cases import running_saga
from tests.factories.people import colleague
from tests.factories.stories import CARD, KEY, NOTE, REASON, STREET, troubled_order, worked_on

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def boss(client: Client) -> Client:
    """A person who may see everything."""
    client.force_login(colleague("grace"))
    return client


@pytest.fixture
def story() -> UUID:
    """An order with a story of every kind."""
    _, order_id = troubled_order()
    worked_on(order_id)
    return order_id


def download(client: Client, order_id: UUID, reason: str = "the customer complains") -> Any:
    return client.post(
        reverse("desk:order-evidence", args=[order_id]), {"reason": reason}, headers={"X-Forwarded-For": ""}
    )


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def evidence_of(order_id: UUID) -> Any:
    file = io.BytesIO()
    seal(file, order_id=order_id, operator="grace", origin="here", reason="a test")
    return json.loads(file.getvalue())


def test_the_file_has_everything_and_its_hash_holds(boss: Client, story: UUID) -> None:
    expected = [(entry.kind, entry.what) for entry in whole_story(story)]

    answer = download(boss, story)

    assert answer.status_code == 200
    assert answer["Content-Disposition"] == f'attachment; filename="evidence-{story}.json"'
    assert (answer["Content-Type"], answer["Cache-Control"]) == ("application/json", "no-store")
    content = body(answer)
    evidence = json.loads(content)
    inside = evidence["content"]
    assert [(entry["kind"], entry["what"]) for entry in inside["entries"]] == expected
    assert inside["totals"] == {kind: [one for one, _ in expected].count(kind) for kind, _ in expected}
    assert (inside["schema"], inside["schema_version"]) == ("saga-bridge.order-evidence", 1)
    assert (inside["order_id"], inside["generated_by"]) == (str(story), "grace")
    assert inside["generated_for"] == "the customer complains"
    assert inside["product"] == {"name": "saga-bridge", "version": "0.1.0"}
    assert inside["order"]["amount"] == 2500
    assert [saga["status"] for saga in inside["sagas"]] == ["SUSPENDED"]
    assert hashlib.sha256(canonical(inside)).hexdigest() == evidence["sha256"]
    raw = content.removeprefix(b'{"content":').rpartition(b',"sha256":"')[0]
    assert hashlib.sha256(raw).hexdigest() == evidence["sha256"]


def test_it_tells_bank_people_and_messages(story: UUID) -> None:
    inside = evidence_of(story)["content"]

    calls = [entry for entry in inside["entries"] if entry["kind"] == "call"]
    assert {"charge", "look_up", "create", "refund"} <= {call["detail"]["operation"] for call in calls}
    refund = next(call for call in calls if call["detail"]["operation"] == "refund")
    assert refund["detail"]["answer"]["code"] == "refund_refused"
    assert refund["detail"]["request"]["amount"] == 2500
    assert KEY in [entry["detail"].get("idempotency_key") for entry in inside["entries"]]
    assert NOTE in [entry["detail"].get("text") for entry in inside["entries"]]
    assert REASON in [entry["detail"].get("reason") for entry in inside["entries"]]
    messages = [entry["detail"]["message_id"] for entry in inside["entries"] if entry["kind"] == "message"]
    logged = Message.objects.filter(ordering_key=story).order_by("sequence").values_list("id", flat=True)
    assert messages == [str(message_id) for message_id in logged]
    moments = [entry["at"] for entry in inside["entries"]]
    assert moments == sorted(moments)


def test_neither_person_nor_card_is_in_it(story: UUID) -> None:
    Attempt.objects.create(
        message_id=uuid7(),
        ordering_key=story,
        destination="payments",
        type="payment.charge",
        attempt=1,
        decision="retry",
        error_class="TransientError",
        error="the card 4242424242424242 was refused",
        fingerprint="f",
    )

    text = json.dumps(evidence_of(story), ensure_ascii=False)

    assert "•••" in text
    assert STREET not in text
    assert CARD not in text
    assert "4242424242424242" not in text
    assert "the card [card number] was refused" in text


def test_a_change_of_one_letter_is_found_out(story: UUID) -> None:
    evidence = evidence_of(story)

    evidence["content"]["entries"][0]["what"] += "."

    assert hashlib.sha256(canonical(evidence["content"])).hexdigest() != evidence["sha256"]


def test_the_download_stands_in_the_operator_log_with_the_hash(boss: Client, story: UUID) -> None:
    evidence = json.loads(body(download(boss, story)))

    line = OperatorAction.objects.latest("id")
    assert (line.operator, line.action, line.key, line.reason, line.result, line.origin) == (
        "grace",
        "evidence",
        story,
        "the customer complains",
        "done",
        "127.0.0.1",
    )
    assert line.seen == {
        "sha256": evidence["sha256"],
        "schema_version": 1,
        "entries": len(evidence["content"]["entries"]),
    }


def test_without_a_reason_nothing_is_sent(boss: Client) -> None:
    saga = running_saga()

    answer = download(boss, saga.key, reason="  ")

    assert (answer.status_code, answer["Location"]) == (302, reverse("desk:order", args=[saga.key]))
    assert not OperatorAction.objects.exists()


def test_a_link_alone_downloads_nothing(boss: Client) -> None:
    saga = running_saga()

    assert boss.get(reverse("desk:order-evidence", args=[saga.key])).status_code == 405
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize("lacks", PERMISSIONS)
def test_whoever_may_not_see_all_of_it_gets_nothing(client: Client, lacks: str) -> None:
    saga = running_saga()
    user = User.objects.create(username="nearly", is_staff=True)
    names = {tuple(name.split(".")) for name in PERMISSIONS if name != lacks}
    user.user_permissions.set(
        [
            permission
            for permission in Permission.objects.select_related("content_type")
            if (permission.content_type.app_label, permission.codename) in names
        ]
    )
    client.force_login(user)

    assert download(client, saga.key).status_code == 403
    assert not OperatorAction.objects.exists()


def test_whoever_may_do_exactly_that_gets_it(client: Client) -> None:
    saga = running_saga()
    user = User.objects.create(username="nearly", is_staff=True)
    names = {tuple(name.split(".")) for name in PERMISSIONS}
    user.user_permissions.set(
        [
            permission
            for permission in Permission.objects.select_related("content_type")
            if (permission.content_type.app_label, permission.codename) in names
        ]
    )
    client.force_login(user)

    assert json.loads(body(download(client, saga.key)))["content"]["order"] is None


def test_of_an_unknown_order_there_is_no_evidence(boss: Client) -> None:
    assert download(boss, uuid7()).status_code == 404
    assert not OperatorAction.objects.exists()
    with pytest.raises(Http404):
        evidence_of(uuid7())


def test_it_is_complete_however_much_there_is() -> None:
    saga = running_saga()
    message = Message.objects.get(ordering_key=saga.key, kind="command")
    Attempt.objects.bulk_create(
        Attempt(
            message_id=message.pk,
            ordering_key=saga.key,
            destination="inventory",
            type=message.type,
            attempt=1,
            decision="retry",
            error_class="TransientError",
            error=f"try {number}.",
            fingerprint="f",
        )
        for number in range(2_500)
    )

    with CaptureQueriesContext(connection) as queries:
        evidence = evidence_of(saga.key)

    errors = [entry["detail"]["error"] for entry in evidence["content"]["entries"] if entry["kind"] == "attempt"]
    assert errors == [f"try {number}." for number in range(2_500)]
    assert hashlib.sha256(canonical(evidence["content"])).hexdigest() == evidence["sha256"]
    assert len(queries) < 60
