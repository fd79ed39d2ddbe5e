"""Rules about the text of the sources that no linter knows."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.rooms import CONTEXTS, PRODUCT, ROOMS, ROOT, sources

LONGEST = 400
QUEUES_WORK = re.compile(r"\.(delay|apply_async|send_task)\(")
# Django looks for a database engine in a module of this name.
ENGINES = {"outbox/crashing/base.py", "outbox/postgres/base.py"}
# Rooms are named after who lives there.
NOBODY = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "lib", "shared", "stuff"}


def of_project(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_file_is_short_enough_to_be_read() -> None:
    long = {of_project(path): len(path.read_text().splitlines()) for path in sources(*PRODUCT, "bench", "tests")}

    assert {name: lines for name, lines in long.items() if lines > LONGEST} == {}


def test_only_the_doorbell_rings() -> None:
    """A Celery message may be lost, doubled or late: work that is queued anywhere else would be too."""
    ringing = [of_project(path) for path in sources(*PRODUCT) if QUEUES_WORK.search(path.read_text())]

    assert ringing == ["outbox/doorbell.py"]


def test_no_module_is_a_drawer_for_everything() -> None:
    named = [of_project(path) for path in sources(*PRODUCT) if NOBODY & {path.stem, *path.relative_to(ROOT).parts}]

    assert sorted(named) == sorted(ENGINES)


def test_every_module_says_why_it_exists() -> None:
    silent = [of_project(path) for path in sources(*PRODUCT, "bench") if _is_silent(path.read_text())]

    assert silent == []


def _is_silent(text: str) -> bool:
    code = [line for line in text.splitlines() if line and not line.startswith("#")]
    return bool(code) and not code[0].startswith('"""')


@pytest.fixture(scope="module")
def contracts() -> list[dict[str, Any]]:
    linter: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(linter["root_packages"]) == {*PRODUCT, "bench"}
    found: list[dict[str, Any]] = linter["contracts"]
    return found


def test_every_room_stands_on_one_floor(contracts: list[dict[str, Any]]) -> None:
    floors = next(contract for contract in contracts if contract["name"] == "Imports point down only")["layers"]

    assert {room.strip() for floor in floors for room in floor.split("|")} == ROOMS


@pytest.mark.parametrize("context", sorted(CONTEXTS))
def test_every_context_is_closed_but_for_its_contracts(contracts: list[dict[str, Any]], context: str) -> None:
    closed = [c for c in contracts if c["type"] == "protected" and c["protected_modules"] == [context]]
    inside = next(c for c in contracts if c["name"] == "A context has these modules and no other kind")

    assert [set(c["allowed_importers"]) for c in closed] == [{context, "config", "desk"}]
    assert [c.get("ignore_imports", []) for c in closed] in ([[]], [[f"** -> {context}.contracts"]])
    assert context in inside["containers"]
