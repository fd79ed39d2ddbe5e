"""Reads a catalogue file: CSV in UTF-8 with the columns sku, name, price, currency, stock. No database, no
guesses.

Everything that may be wrong is found here, before anything is written, and is told with its line and column.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from inventory.models import NAME_LENGTH, SKU_LENGTH
from outbox.money import EXPONENTS, to_minor_units

COLUMNS = ("sku", "name", "price", "currency", "stock")
# Far above any price or pile, and far below what 64 bits hold even when many are added up.
MOST_MINOR_UNITS = 10**12
MOST_PIECES = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueRow:
    """One product as the file has it; `price` in minor units."""

    line: int
    sku: str
    name: str
    price: int
    currency: str
    stock: int


class BadCatalogue(Exception):
    """The file cannot be loaded; says where and why in one line."""

    def __init__(self, *, line: int, column: str, problem: str) -> None:
        super().__init__(f"line {line}, column {column}: {problem}")
        self.line = line
        self.column = column
        self.problem = problem


def read_catalogue(*, path: Path) -> list[CatalogueRow]:
    """Read the whole file.

    Raises: BadCatalogue at the first thing that is wrong, OSError if it cannot be read.
    """
    rows: list[CatalogueRow] = []
    lines: dict[str, int] = {}
    for line, fields in _read_lines(path=path):
        row = _read_row(line=line, fields=fields)
        if row.sku in lines:
            raise BadCatalogue(line=line, column="sku", problem=f"{row.sku} is on line {lines[row.sku]} already")
        lines[row.sku] = line
        rows.append(row)
    if not rows:
        raise BadCatalogue(line=2, column="sku", problem="the file names no product")
    return rows


def _read_lines(*, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each line of products with its number in the file, without blank lines."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadCatalogue(line=line, column=COLUMNS[0], problem="the file is not in UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_header(next(reader, []))
        line = reader.line_num + 1
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadCatalogue(line=reader.line_num, column=COLUMNS[0], problem=str(error)) from error


def _check_header(header: list[str]) -> None:
    for place, expected in enumerate(COLUMNS):
        found = header[place].strip() if place < len(header) else ""
        if found != expected:
            problem = f"the header must be {','.join(COLUMNS)}, not {','.join(header) or 'empty'}"
            raise BadCatalogue(line=1, column=expected, problem=problem)
    if len(header) > len(COLUMNS):
        raise BadCatalogue(line=1, column=header[len(COLUMNS)], problem="there is no such column in a catalogue")


def _read_row(*, line: int, fields: list[str]) -> CatalogueRow:
    values = [field.strip() for field in fields]
    if len(values) < len(COLUMNS):
        raise BadCatalogue(line=line, column=COLUMNS[len(values)], problem="is missing")
    if len(values) > len(COLUMNS):
        raise BadCatalogue(line=line, column=COLUMNS[-1], problem="is followed by more fields")
    sku, name, price, currency, stock = values
    _check_text(line=line, column="sku", value=sku, longest=SKU_LENGTH)
    _check_text(line=line, column="name", value=name, longest=NAME_LENGTH)
    if currency not in EXPONENTS:
        problem = f"{currency!r} is not an accepted ISO 4217 code"
        raise BadCatalogue(line=line, column="currency", problem=problem)
    return CatalogueRow(
        line=line,
        sku=sku,
        name=name,
        price=_read_price(line=line, value=price, currency=currency),
        currency=currency,
        stock=_read_stock(line=line, value=stock),
    )


def _check_text(*, line: int, column: str, value: str, longest: int) -> None:
    if not value:
        raise BadCatalogue(line=line, column=column, problem="is empty")
    if len(value) > longest:
        raise BadCatalogue(line=line, column=column, problem=f"is longer than {longest} characters")
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise BadCatalogue(line=line, column=column, problem="contains a control character")


def _read_price(*, line: int, value: str, currency: str) -> int:
    whole, point, decimals = value.partition(".")
    if not _is_digits(whole) or (point and not _is_digits(decimals)):
        problem = f"{value!r} is not a decimal number such as 12.34"
        raise BadCatalogue(line=line, column="price", problem=problem)
    try:
        minor_units = to_minor_units(amount=Decimal(value), currency=currency)
    except ValueError as error:
        raise BadCatalogue(line=line, column="price", problem=str(error)) from error
    if not 0 < minor_units <= MOST_MINOR_UNITS:
        raise BadCatalogue(line=line, column="price", problem=f"{value} is not a price that can be charged")
    return minor_units


def _read_stock(*, line: int, value: str) -> int:
    if not _is_digits(value) or int(value) > MOST_PIECES:
        problem = f"{value!r} is not a whole number from 0 to {MOST_PIECES}"
        raise BadCatalogue(line=line, column="stock", problem=problem)
    return int(value)


def _is_digits(value: str) -> bool:
    # 13 digits are as many as any number here has; twice as many (a price) still fit a Decimal without
    # rounding.
    return value.isascii() and value.isdigit() and len(value) <= 13
