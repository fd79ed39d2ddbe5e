"""A ledger comes in pieces of any size, and is read as it comes."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.audit.ledgers import objects

ENTRIES = [{"key": "a,b]", "amount": 1}, {"key": 'quo"te}', "amount": 22, "more": {"x": [1, 2]}}, {"key": "ü"}]
TEXT = json.dumps(ENTRIES, ensure_ascii=False)


@given(st.lists(st.integers(min_value=0, max_value=len(TEXT)), max_size=12))
def test_it_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TEXT)]
    pieces = [TEXT[start:end] for start, end in itertools.pairwise(places)]

    assert list(objects(pieces)) == ENTRIES


def test_an_empty_ledger_has_no_entries() -> None:
    assert list(objects(["[", "]"])) == []


@pytest.mark.parametrize("text", ["", "[", TEXT[:-1], TEXT[: len(TEXT) // 2]])
def test_a_ledger_that_breaks_off_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="breaks off"):
        list(objects([text]))
