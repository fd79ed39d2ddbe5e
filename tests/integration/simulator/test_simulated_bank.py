"""The simulated bank as its callers see it: charges, refunds, and every way in which it misbehaves.

It is the oracle of the fault tests, so what it promises is proved here without any of the product's code.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.simulator.process import GIVE_UP_SECONDS, HOLD_SECONDS, Simulator


def test_charge_is_answered_entered_and_found(simulator: Simulator, key: str) -> None:
    answer = simulator.charge(key)

    assert answer.status_code == 201
    charge = answer.json()
    assert charge.pop("id").startswith("ch_")
    expected = {"key": key, "order_id": key, "amount": 1234, "currency": "EUR"}
    assert charge == {**expected, "status": "succeeded"}
    assert simulator.http.get(f"/bank/charges/{key}").json() == answer.json()
    (entry,) = simulator.http.get("/bank/ledger", params={"order_id": key}).json()
    assert entry.pop("at").endswith("+00:00")
    assert entry == {**expected, "kind": "charge"}


def test_same_key_replays_the_same_bytes(simulator: Simulator, key: str) -> None:
    first, again = simulator.charge(key), simulator.charge(key)

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert simulator.kinds("bank", key) == ["charge"]


def test_same_key_with_another_body_is_refused(simulator: Simulator, key: str) -> None:
    simulator.charge(key)

    answer = simulator.charge(key, amount=1)

    assert (answer.status_code, answer.json()["code"]) == (409, "key_reused")
    assert simulator.kinds("bank", key) == ["charge"]


def test_fifty_at_once_with_one_key_charge_once(simulator: Simulator, key: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(simulator.charge, [key] * 50))

    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert simulator.kinds("bank", key) == ["charge"]


@pytest.mark.parametrize(
    ("method", "code"),
    [("pm_card_visa_chargeDeclined", "card_declined"), ("pm_card_nobody", "unknown_payment_method")],
)
def test_decline_moves_no_money_and_is_repeated(simulator: Simulator, key: str, method: str, code: str) -> None:
    answer, again = simulator.charge(key, method=method), simulator.charge(key, method=method)

    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (402, code, "declined")
    assert (again.status_code, again.content) == (402, answer.content)
    assert simulator.http.get(f"/bank/charges/{key}").json() == answer.json()
    assert simulator.kinds("bank", key) == []


def test_timeout_charged_answers_late_but_the_charge_is_made(simulator: Simulator, key: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        simulator.charge(key, method="pm_sim_timeout_charged", timeout=GIVE_UP_SECONDS)

    assert simulator.http.get(f"/bank/charges/{key}").json()["status"] == "succeeded"
    assert simulator.charge(key, method="pm_sim_timeout_charged", timeout=1).status_code == 201
    assert simulator.kinds("bank", key) == ["charge"]


def test_timeout_not_charged_does_nothing_the_first_time(simulator: Simulator, key: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        simulator.charge(key, method="pm_sim_timeout_not_charged", timeout=GIVE_UP_SECONDS)

    assert simulator.http.get(f"/bank/charges/{key}").status_code == 404
    assert simulator.kinds("bank", key) == []
    assert simulator.charge(key, method="pm_sim_timeout_not_charged", timeout=1).status_code == 201
    assert simulator.kinds("bank", key) == ["charge"]


def test_patient_callers_learn_the_outcome_after_the_hold(simulator: Simulator, key: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        charged = pool.submit(simulator.charge, key + "-1", method="pm_sim_timeout_charged")
        silent = pool.submit(simulator.charge, key + "-2", method="pm_sim_timeout_not_charged")

    assert charged.result().elapsed.total_seconds() >= HOLD_SECONDS
    assert charged.result().status_code == 201
    assert (silent.result().status_code, silent.result().json()["code"]) == (504, "timed_out")


def test_unavailable_method_is_503_every_time(simulator: Simulator, key: str) -> None:
    answers = [simulator.charge(key, method="pm_sim_unavailable") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert simulator.http.get(f"/bank/charges/{key}").status_code == 404
    assert simulator.kinds("bank", key) == []


def test_refund_in_parts_but_never_more_than_was_charged(simulator: Simulator, key: str) -> None:
    simulator.charge(key)

    half = simulator.refund(key + "-1", charge_key=key, amount=1000)
    too_much = simulator.refund(key + "-2", charge_key=key, amount=235)
    rest = simulator.refund(key + "-2", charge_key=key, amount=234)

    assert (half.status_code, half.json()["status"]) == (201, "succeeded")
    assert (too_much.status_code, too_much.json()["code"]) == (422, "over_refund")
    assert rest.status_code == 201
    assert simulator.refund(key + "-2", charge_key=key, amount=234).content == rest.content
    assert simulator.http.get(f"/bank/refunds/{key}-2").json() == rest.json()
    assert simulator.kinds("bank", key) == ["charge", "refund", "refund"]


def test_refund_of_what_was_never_charged_is_404_until_it_is(simulator: Simulator, key: str) -> None:
    before = simulator.refund(key, charge_key=key)
    simulator.charge(key)

    assert (before.status_code, before.json()["code"]) == (404, "no_such_charge")
    assert simulator.refund(key + "-1", charge_key=key, order_id="another").status_code == 422
    assert simulator.refund(key, charge_key=key).status_code == 201


def test_refund_of_a_declined_charge_is_404(simulator: Simulator, key: str) -> None:
    simulator.charge(key, method="pm_card_visa_chargeDeclined")

    assert simulator.refund(key, charge_key=key).status_code == 404


def test_refund_refused_method_refuses_every_refund(simulator: Simulator, key: str) -> None:
    charge = simulator.charge(key, method="pm_sim_refund_refused")
    answers = [simulator.refund(f"{key}-{n}", charge_key=key) for n in (1, 1, 2)]

    assert charge.status_code == 201
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(402, "refund_refused")}
    assert simulator.kinds("bank", key) == ["charge"]


def test_refused_refund_asks_anew(simulator: Simulator, key: str) -> None:
    simulator.charge(key)
    simulator.control("bank", refund_refuse_ratio=1)
    refused = simulator.refund(key, charge_key=key)
    simulator.control("bank", refund_refuse_ratio=0)

    assert refused.status_code == 402
    assert simulator.refund(key, charge_key=key).status_code == 201


def test_decline_ratio_is_a_share_of_the_keys(simulator: Simulator, key: str) -> None:
    simulator.control("bank", decline_ratio=0.3)

    statuses = [simulator.charge(f"{key}-{n}").status_code for n in range(200)]

    assert set(statuses) == {201, 402}
    assert 30 <= statuses.count(402) <= 90


def test_the_seed_alone_decides_which_keys_a_fault_strikes(simulator: Simulator, key: str) -> None:
    charges = [f"{key}-{n}" for n in range(40)]
    for charge in charges:
        simulator.charge(charge)

    def refused(seed: int, attempt: str) -> list[str]:
        simulator.control("bank", refund_refuse_ratio=0.5, seed=seed)
        refunds = {charge: simulator.refund(charge + attempt, charge_key=charge, amount=1) for charge in charges}
        return [charge for charge, refund in refunds.items() if refund.status_code == 402]

    first = refused(7, "-a")
    assert 5 <= len(first) <= 35
    assert refused(7, "-b") == first
    assert refused(8, "-c") != first


@pytest.mark.parametrize(("setting", "entered"), [("timeout_charged_ratio", ["charge"]), ("timeout_ratio", [])])
def test_timeout_ratios_strike_only_the_first_call(
    simulator: Simulator, key: str, setting: str, entered: list[str]
) -> None:
    simulator.control("bank", **{setting: 1})

    with pytest.raises(httpx.ReadTimeout):
        simulator.charge(key, timeout=GIVE_UP_SECONDS)

    assert simulator.kinds("bank", key) == entered
    assert simulator.charge(key, timeout=1).status_code == 201
    assert simulator.kinds("bank", key) == ["charge"]


def test_latency_is_added_and_a_caller_that_gave_up_is_charged_all_the_same(simulator: Simulator, key: str) -> None:
    simulator.control("bank", latency_ms=600)

    with pytest.raises(httpx.ReadTimeout):
        simulator.charge(key, timeout=GIVE_UP_SECONDS)
    found = simulator.http.get(f"/bank/charges/{key}")

    assert found.elapsed.total_seconds() >= 0.6
    assert found.status_code == 200
    assert simulator.kinds("bank", key) == ["charge"]


def test_ledger_of_several_orders_and_of_all(simulator: Simulator, key: str) -> None:
    for n in range(3):
        simulator.charge(f"{key}-{n}")

    some = simulator.http.get("/bank/ledger", params={"order_id": [f"{key}-0", f"{key}-2"]}).json()
    everything = simulator.http.get("/bank/ledger").json()

    assert [entry["key"] for entry in some] == [f"{key}-0", f"{key}-2"]
    assert [entry["key"] for entry in everything][-3:] == [f"{key}-{n}" for n in range(3)]
    assert {entry["kind"] for entry in everything} <= {"charge", "refund"}


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 0},
        {"amount": -5},
        {"amount": 1.5},
        {"amount": True},
        {"amount": 10**30},
        {"currency": "eur"},
        {"order_id": "a b"},
        {"order_id": None},
        {"payment_method": ""},
    ],
)
def test_bad_field_is_400_and_names_it(simulator: Simulator, key: str, changes: dict[str, Any]) -> None:
    answer = simulator.charge(key, **changes)

    assert answer.status_code == 400
    assert next(iter(changes)) in answer.json()["detail"]
