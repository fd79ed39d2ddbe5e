"""F20: sagas in flight while a release brings version 2, or takes it back, or runs beside the old one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from django.apps import apps
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from pytest_django import Settings

from outbox.models import Lane
from sagas import handlers
from sagas.deadlines import sweep_deadlines
from sagas.definition import definitions
from sagas.management.commands.saga_versions import Command as SagaVersions
from sagas.models import SagaInstance
from sagas.selectors import orphaned
from tests.command_line import run
from tests.factories.inventory import stocked
from tests.factories.orders import placed, price, told
from tests.factories.plays import Play
from tests.messaging import drain, make_due, refill_bucket, waiting
from tests.running import running_shop
from tests.shop import Shop

FIRST = ("sagas.definitions",)
BOTH = ("sagas.definitions", "tests.faults.releases.second")
RESERVES_FIRST = ["inventory.reserve", "payment.charge", "shipment.create", "order.confirm"]
CHARGES_FIRST = ["payment.charge", "inventory.reserve", "shipment.create", "order.confirm"]

Deploy = Callable[[tuple[str, ...]], None]


# --- in one process: which version a saga runs on ---


def forget_definitions() -> None:
    """Let the next look find the definitions anew, as a process that has just started."""
    for found in (definitions, handlers._starters, handlers._cancelling):
        found.cache_clear()


@pytest.fixture
def deploy(transactional_db: None, settings: Settings) -> Iterator[Deploy]:
    """Return what puts a release in the place of another."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    refill_bucket()
    price("MUG")
    stocked("MUG", on_hand=100)

    def put(release: tuple[str, ...]) -> None:
        settings.SAGA_DEFINITIONS = list(release)
        forget_definitions()

    put(FIRST)
    yield put
    settings.SAGA_DEFINITIONS = list(FIRST)
    forget_definitions()


def commands(order_id: UUID) -> list[str]:
    return [wire_type for wire_type in told(order_id) if wire_type in RESERVES_FIRST]


def begun(customer_id: int) -> UUID:
    """Place an order and let its saga begin, no further."""
    order = placed(("MUG", 1), customer_id=customer_id)
    drain(Lane.RELAY)
    return order.id


def ends() -> set[tuple[int, str]]:
    return set(SagaInstance.objects.values_list("version", "status"))


def test_f20_what_has_begun_on_version_1_ends_on_version_1(deploy: Deploy) -> None:
    """The new version is for new orders; the old ones are not changed in mid course."""
    old = [begun(number) for number in range(5)]

    deploy(BOTH)
    new = [placed(("MUG", 1), customer_id=100 + number).id for number in range(5)]
    drain()

    assert ends() == {(1, "COMPLETED"), (2, "COMPLETED")}
    assert {tuple(commands(order_id)) for order_id in old} == {tuple(RESERVES_FIRST)}
    assert {tuple(commands(order_id)) for order_id in new} == {tuple(CHARGES_FIRST)}
    assert waiting() == []


def test_f20_a_release_that_is_taken_back_leaves_its_sagas_waiting_and_harms_no_other(deploy: Deploy) -> None:
    """The old code does not know version 2: those wait, untouched, and end when the new code is back."""
    deploy(BOTH)
    new = begun(1)
    deploy(FIRST)
    old = placed(("MUG", 1), customer_id=2).id

    for _ in range(3):
        make_due()
        drain()
    sweep_deadlines()

    assert SagaInstance.objects.get(key=old).status == "COMPLETED"
    left = SagaInstance.objects.get(key=new)
    assert (left.version, left.status) == (2, "RUNNING")
    assert waiting() != []
    deploy(BOTH)
    make_due()
    drain()
    assert SagaInstance.objects.get(key=new).status == "COMPLETED"
    assert waiting() == []


def test_f20_a_release_that_would_orphan_sagas_is_named_before_it_is_made(deploy: Deploy) -> None:
    """The check of a deploy ends with 1 and says how many wait for the version that is missing."""
    deploy(BOTH)
    begun(1)
    begun(2)
    known = run("saga_versions")
    deploy(FIRST)

    missing = run("saga_versions", "--json")

    assert known.code == 0
    assert missing.code == 1
    assert missing.json["orphaned"] == [{"saga": "order-fulfilment", "version": 2, "sagas": 2}]
    assert orphaned(definitions()) == [("order-fulfilment", 2, 2)]
    assert SagaVersions.help


def test_f20_a_longer_deadline_under_the_same_version_counts_for_those_in_flight(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row still has the old time; before it decides, the sweep asks the definition that runs now."""
    play = Play().begin()
    SagaInstance.objects.filter(key=play.order_id).update(due_at="2026-01-01T00:00Z")

    sweep_deadlines()

    saga = SagaInstance.objects.get(key=play.order_id)
    assert saga.status == "RUNNING"
    assert saga.due_at is not None
    assert saga.due_at.year > 2026 or saga.due_at.month > 1


# --- the schema: what has come must not stand in the way of code that does not know it ---

# What a database may be given while the old code runs on it. Anything else needs two releases.
HARMLESS = (ops.CreateModel, ops.AddIndex, ops.AlterModelOptions, ops.RunPython, ops.RunSQL)
# The first release; what came with it was there before any other code.
FOUNDATION = {"0001_initial", "0001_schedules", "0002_message_log", "0002_storage", "0002_append_only_and_storage"}


def is_harmless(operation: Any) -> bool:
    """Tell whether code that does not know of it can still write every row it writes."""
    if isinstance(operation, ops.AddField):
        field = operation.field
        return bool(field.null or field.has_db_default() or field.many_to_many)
    return isinstance(operation, HARMLESS)


def test_f20_the_old_code_runs_on_the_new_schema() -> None:
    """Every migration since the first release only adds what the old code need not know of."""
    ours = {config.label for config in apps.get_app_configs() if "site-packages" not in config.path}
    loader = MigrationLoader(None)
    later = {
        key: migration
        for key, migration in loader.disk_migrations.items()
        if key[0] in ours and key[1] not in FOUNDATION
    }

    # The old code does not know of a table that has come since, whatever is done to it.
    new_tables = {
        (app, operation.name_lower)
        for (app, _), migration in later.items()
        for operation in migration.operations
        if isinstance(operation, ops.CreateModel)
    }
    harmful = [
        (app, name, type(operation).__name__)
        for (app, name), migration in later.items()
        for operation in migration.operations
        if not is_harmless(operation) and (app, getattr(operation, "model_name_lower", "")) not in new_tables
    ]

    assert harmful == []
    assert ("sagas", "0003_four_eyes") in later


# --- in many processes: a rolling restart under traffic ---


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A running shop on the first release."""
    with running_shop(name="f20") as running:
        yield running


class Traffic:
    """Customers who order all the time, each in a thread, and remember every answer.

    As documented, they send a request again under its key when the connection breaks off: a server that ends closes
    those that are idle.
    """

    def __init__(self, shop: Shop) -> None:
        self.placed: list[tuple[Any, str]] = []
        self.odd: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._order, args=(shop.customer(),)) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _order(self, customer: Any) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            answer = self._answer(customer, {"TEA-GREEN": 1 + number % 50})
            if answer.status_code == 202:
                self.placed.append((customer, answer.json()["id"]))
            else:
                self.odd.append(f"{answer.status_code} {answer.text}")
            time.sleep(0.1)

    def _answer(self, customer: Any, items: dict[str, int]) -> httpx.Response:
        key = str(uuid4())
        while True:
            try:
                answer: httpx.Response = customer.order(items, key=key)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return answer

    def stop(self) -> None:
        """Let the last answers come in."""
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_f20_a_rolling_restart_into_version_2_under_traffic_loses_nothing(shop: Shop) -> None:
    """Process after process ends as a deploy ends it and comes back with the new release; no answer is a failure."""
    traffic = Traffic(shop)
    shop.wait_until(lambda: len(traffic.placed) > 10)
    os.kill(shop.pids["web"], signal.SIGHUP)
    for role in ("relay", "effects", "compensations", "sweeps", "beat"):
        shop.renew(role, SAGA_DEFINITIONS=",".join(BOTH))
        many = len(traffic.placed)
        shop.wait_until(lambda many=many: len(traffic.placed) > many + 4)  # type: ignore[misc]
    versions = "SELECT count(*) FROM sagas_sagainstance WHERE version = 2 AND status = 'COMPLETED'"
    shop.wait_until(lambda: shop.query(versions)[0][0] > 5)
    traffic.stop()

    assert traffic.odd == []
    assert {customer.end_of(order_id) for customer, order_id in traffic.placed} == {"CONFIRMED"}
    by_version = dict(shop.query("SELECT version, count(*) FROM sagas_sagainstance GROUP BY version"))
    assert set(by_version) == {1, 2}
    assert sum(by_version.values()) == len(traffic.placed)
    assert shop.query("SELECT count(*) FROM sagas_case") == [(0,)]
    shop.wait_until(lambda: shop.query("SELECT count(*) FROM outbox_delivery") == [(0,)])
    assert shop.audit() == (0, [])
