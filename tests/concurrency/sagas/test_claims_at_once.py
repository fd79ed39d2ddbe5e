"""Many people press the same button of one case at the same moment: one has it, and each of the others is told who."""

from __future__ import annotations

from functools import partial

import pytest

from sagas import cases, services
from sagas.engine import Refused
from sagas.models import Case, OperatorAction
from tests.factories.cases import refused_refund
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = [f"person-{number}" for number in range(12)]


def attempt(deed: object, **given: object) -> str:
    try:
        deed(**given)  # type: ignore[operator]
    except Refused as refusal:
        return str(refusal)
    return "done"


def test_of_many_who_claim_one_has_it() -> None:
    case = refused_refund()

    said = side_by_side([partial(attempt, cases.claim, case_id=case.pk, operator=name) for name in PEOPLE])

    owner = Case.objects.get(pk=case.pk).owner
    assert said.count("done") == 1
    assert PEOPLE[said.index("done")] == owner
    assert {text.split(" it already")[0] for text in said if text != "done"} == {f"{owner} has"}
    assert list(OperatorAction.objects.values_list("operator", "action")) == [(owner, "claim")]


def test_of_many_who_take_over_from_the_same_one_has_it() -> None:
    case = refused_refund()
    cases.claim(case_id=case.pk, operator="ada")
    take = partial(attempt, cases.take_over, case_id=case.pk, from_owner="ada", reason="r")

    said = side_by_side([partial(take, operator=name) for name in PEOPLE])

    owner = Case.objects.get(pk=case.pk).owner
    assert said.count("done") == 1
    assert PEOPLE[said.index("done")] == owner
    assert OperatorAction.objects.filter(action="take over").count() == 1


def test_a_claim_and_an_action_at_once_do_not_wait_for_each_other_in_a_circle() -> None:
    for number in range(10):
        case = refused_refund()
        retry = partial(attempt, services.retry, saga_id=case.saga_id, operator="grace", reason="r")
        claim = partial(attempt, cases.claim, case_id=case.pk, operator="ada")

        retried, claimed = side_by_side([retry, claim])

        assert retried == "done", number
        assert claimed in ("done", f"case {case.pk} is closed already: retried")
