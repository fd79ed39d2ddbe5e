"""The matrix of faults: no row without a test, no test without a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MATRIX = PROJECT / "docs" / "explanation" / "faults.md"
FAULTS = PROJECT / "tests" / "faults"

ROWS = [f"F{number:02}" for number in range(1, 28)]


def names_in(file: Path) -> list[str]:
    """Return the names of the test functions of a file."""
    functions = (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef))
    return [function.name for function in functions if function.name.startswith("test_")]


def test_the_matrix_has_all_rows_each_with_its_tests() -> None:
    rows = re.findall(r"^\| (F\d\d) \|.*\| `(test_f\d\d_\*)` \|$", MATRIX.read_text(), re.MULTILINE)

    assert rows == [(row, f"test_{row.lower()}_*") for row in ROWS]


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_a_test(row: str) -> None:
    shown = [name for file in FAULTS.glob("test_*.py") for name in names_in(file)]

    assert [name for name in shown if name.startswith(f"test_{row.lower()}_")] != []


def test_each_test_of_a_fault_names_its_row() -> None:
    names = [name for file in FAULTS.glob("test_f[0-9][0-9]_*.py") for name in names_in(file)]

    assert [name for name in names if name[5:8].upper() not in ROWS] == []
