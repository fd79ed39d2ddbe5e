"""The simulated carrier as its callers see it: shipments, cancellations, refusals, lost answers."""

import httpx
import pytest

from tests.integration.simulator.process import GIVE_UP_SECONDS, Simulator


def test_shipment_is_created_found_and_cancelled_once(simulator: Simulator, key: str) -> None:
    created, again = simulator.ship(key), simulator.ship(key)
    cancelled = [simulator.http.post(f"/carrier/shipments/{key}/cancel") for _ in range(2)]

    assert (created.status_code, created.json()["status"]) == (201, "created")
    assert again.content == created.content
    assert [answer.status_code for answer in cancelled] == [200, 200]
    assert cancelled[0].json() == cancelled[1].json() == {**created.json(), "status": "cancelled"}
    assert simulator.http.get(f"/carrier/shipments/{key}").json()["status"] == "cancelled"
    entries = simulator.http.get("/carrier/ledger", params={"order_id": key}).json()
    assert [entry["kind"] for entry in entries] == ["shipment", "cancellation"]
    assert {entry["tracking"] for entry in entries} == {created.json()["tracking"]}


def test_carrier_refuses_the_antarctic_and_a_corrected_address_may_use_the_key(simulator: Simulator, key: str) -> None:
    refused = simulator.ship(key, country="AQ")

    assert (refused.status_code, refused.json()["code"]) == (422, "destination_refused")
    assert simulator.http.get(f"/carrier/shipments/{key}").status_code == 404
    unknown = simulator.http.post(f"/carrier/shipments/{key}/cancel")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no_such_shipment")
    assert simulator.ship(key).status_code == 201


def test_carrier_ratios(simulator: Simulator, key: str) -> None:
    simulator.control("carrier", refuse_ratio=1)
    refused = simulator.ship(key)
    simulator.control("carrier", refuse_ratio=0, timeout_created_ratio=1)
    with pytest.raises(httpx.ReadTimeout):
        simulator.ship(key, timeout=GIVE_UP_SECONDS)

    assert refused.status_code == 422
    assert simulator.ship(key, timeout=1).status_code == 201
    assert simulator.kinds("carrier", key) == ["shipment"]
