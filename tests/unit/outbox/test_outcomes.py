"""How long a message rests, and which failures count as the same."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.consumers import RetryPolicy, TransientError
from outbox.outcomes import ERROR_LENGTH, Failure, backoff, fingerprint

QUICK = settings(max_examples=200, deadline=None, database=None)
MOMENTS = st.timedeltas(timedelta(milliseconds=1), timedelta(hours=1))


def mark(error: str, **changes: str) -> str:
    words = {"destination": "payments", "wire_type": "payment.charge", "error_class": "BankDown"}
    return fingerprint(error=error, **{**words, **changes})


@QUICK
@given(base=MOMENTS, cap=MOMENTS, attempt=st.integers(1, 2_000))
def test_a_rest_is_random_below_an_exponential_ceiling(base: timedelta, cap: timedelta, attempt: int) -> None:
    rest = backoff(RetryPolicy(base=base, cap=cap), attempt)

    assert timedelta() <= rest <= cap
    assert rest.total_seconds() <= base.total_seconds() * 2 ** min(attempt - 1, 100)


def test_rests_fill_their_whole_range() -> None:
    """Full jitter: a thousand messages that failed together do not come back together."""
    policy = RetryPolicy(base=timedelta(seconds=1), cap=timedelta(seconds=8))
    for attempt, ceiling in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
        rests = [backoff(policy, attempt).total_seconds() for _ in range(500)]

        assert min(rests) < 0.1 * ceiling
        assert max(rests) > 0.9 * ceiling
        assert 0.4 * ceiling < sum(rests) / len(rests) < 0.6 * ceiling


def test_the_default_policy_is_patient_with_the_world_and_not_with_bugs() -> None:
    policy = RetryPolicy()

    assert (policy.attempts, policy.bug_attempts) == (5, 3)
    assert (policy.base, policy.cap) == (timedelta(milliseconds=500), timedelta(seconds=30))


@QUICK
@given(order=st.uuids(), other=st.uuids(), amount=st.integers(0), address=st.integers(0, 2**64))
def test_ids_numbers_and_addresses_do_not_make_a_failure_another_one(
    order: object, other: object, amount: int, address: int
) -> None:
    text = "order {} over {} at <Gateway 0x{:x}> was refused"

    assert mark(text.format(order, amount, address)) == mark(text.format(other, 7, 0xFFFF))


@pytest.mark.parametrize("reference", ["ch_3Px9aB", "re_1", "0xdeadbeef1", "A7", "1250EUR"])
def test_the_other_sides_own_ids_do_not_make_a_failure_another_one(reference: str) -> None:
    assert mark(f"charge {reference} cannot be refunded") == mark("charge ch_9 cannot be refunded")
    assert mark(f"charge {reference} cannot be refunded") != mark("charge of the customer cannot be refunded")


def test_only_the_first_line_counts() -> None:
    assert mark("it broke\nat 12:30 in thread 7") == mark("it broke\nelsewhere")
    assert mark("") == mark("")


@pytest.mark.parametrize("word", ["destination", "wire_type", "error_class"])
def test_another_place_type_or_error_is_another_failure(word: str) -> None:
    assert mark("it broke", **{word: "another"}) != mark("it broke")
    assert mark("it broke") != mark("it is broken")


def test_a_fingerprint_stays_the_same_over_releases() -> None:
    """Cases are grouped by it, and old ones are in the table already."""
    assert mark("order 00000000-0000-0000-0000-000000000001 was refused") == "d97fb0caa93f"


def test_a_failure_keeps_what_a_person_needs() -> None:
    failure = Failure.of(TransientError("x" * 5_000), bug=False)

    assert (failure.error_class, failure.bug, failure.permanent) == ("TransientError", False, False)
    assert failure.error == "x" * ERROR_LENGTH


def test_an_error_without_words_says_at_least_its_name() -> None:
    assert Failure.of(ValueError()) == Failure("ValueError", "ValueError()", bug=True)
