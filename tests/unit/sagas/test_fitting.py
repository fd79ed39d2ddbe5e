"""A command is filled from what a saga knows: by the shape of the types, whoever declared them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sagas.fitting import misfits


def struct(**fields: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct("Shape", list(fields.items()))


LINE = struct(sku=str, quantity=int)
OTHER_LINE = struct(sku=str, quantity=int)
RICH_LINE = struct(sku=str, quantity=int, note=str)
FLOAT_LINE = struct(sku=str, quantity=float)


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (int, int, []),
        (int, str, ["x"]),
        (int, float, ["x"]),
        (str, str | None, []),
        (str | None, str, ["x"]),
        (str | int, int | str | None, []),
        (int, Any, []),
        (LINE, OTHER_LINE, []),
        (RICH_LINE, LINE, []),
        (LINE, RICH_LINE, ["x.note"]),
        (LINE, FLOAT_LINE, ["x.quantity"]),
        (tuple[LINE, ...], tuple[OTHER_LINE, ...], []),  # type: ignore[valid-type]
        (list[LINE], tuple[OTHER_LINE, ...], []),  # type: ignore[valid-type]
        (tuple[LINE, ...], tuple[FLOAT_LINE, ...], ["x[].quantity"]),  # type: ignore[valid-type]
        (LINE, tuple[LINE, ...], ["x"]),  # type: ignore[valid-type]
    ],
)
def test_what_fits_is_told_from_what_does_not(given: Any, wanted: Any, expected: list[str]) -> None:
    assert misfits(struct(x=given), struct(x=wanted)) == expected


def test_what_only_one_side_has_is_no_misfit() -> None:
    assert misfits(struct(x=int, y=int), struct(x=int, z=str)) == []
