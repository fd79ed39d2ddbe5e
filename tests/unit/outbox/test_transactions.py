"""A message needs an open transaction; the network forbids one."""

import pytest
from django.db import connections

from outbox.publishing import Outgoing, publish
from outbox.transactions import InsideTransaction, OutsideTransaction, assert_no_transaction, require_transaction
from sagas.testing import ORDER_ID, sample
from tests.unit.sagas.trips import TripPlanned


@pytest.fixture
def open_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "in_atomic_block", True)


def test_publishing_outside_a_transaction_is_refused() -> None:
    message = Outgoing(data=sample(TripPlanned), source="test", subject=ORDER_ID)

    with pytest.raises(OutsideTransaction, match="no transaction is open on database 'default'"):
        publish([message])


def test_even_saying_nothing_needs_a_transaction() -> None:
    """A caller that forgot it is found by the first test, not by the first message."""
    with pytest.raises(OutsideTransaction):
        publish([])


@pytest.mark.usefixtures("open_transaction")
def test_inside_a_transaction_nobody_is_called() -> None:
    require_transaction("default")

    assert publish([]) == []
    with pytest.raises(InsideTransaction, match="a transaction is open on database 'default'"):
        assert_no_transaction()


def test_outside_a_transaction_the_network_is_free() -> None:
    assert_no_transaction()
