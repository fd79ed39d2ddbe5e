"""The reference names all there is, and no link leads nowhere.

Documents that nobody compares with the code go stale.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from config.routing import ROUTING
from config.schedules import SCHEDULES

PROJECT = Path(__file__).resolve().parents[3]
DOCS = PROJECT / "docs"
PACKAGES = (
    "analytics",
    "config",
    "desk",
    "inventory",
    "notifications",
    "orders",
    "outbox",
    "payments",
    "sagas",
    "shipping",
    "simulator",
)
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.rglob("*.md")])

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def test_every_setting_is_in_the_reference() -> None:
    readers = {"str", "int", "bool", "list", "float", "_choice", "_number", "_url", "email_url"}
    read = {text for name, text in _calls(PROJECT / "config" / "settings.py") if name in readers}

    assert {name for name in read if name.isupper()} - _named_in("settings.md") == set()
    assert "DATABASE_URL" in read


def test_every_metric_is_in_the_reference() -> None:
    kinds = {"Counter", "Gauge", "Histogram", "Summary"}
    metrics = {text for path in _sources() for name, text in _calls(path) if name in kinds}

    assert metrics - _named_in("metrics.md") == set()
    assert "outbox_pending" in metrics


def test_every_command_is_in_the_reference() -> None:
    files = PROJECT.glob("*/management/commands/*.py")
    commands = {path.stem for path in files if path.stem != "__init__"}
    listed = {name.split()[0] for name in _named_in("commands.md")}

    assert commands - listed == set()
    assert "saga_show" in commands


def test_every_make_target_is_in_the_reference() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE))

    assert {f"make {target}" for target in targets - {"help"}} - _named_in("commands.md") == set()
    assert "demo" in targets


def test_every_message_is_in_the_reference_with_its_class() -> None:
    listed = _named_in("messages.md")
    classes = {message.__name__ for message in ROUTING.types.values()}

    assert set(ROUTING.types) - listed == set()
    assert classes - listed == set()


def test_every_periodic_task_is_in_the_reference() -> None:
    assert {schedule.task for schedule in SCHEDULES} - _named_in("processes.md") == set()


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "index.md"
    linked = {(DOCS / target).resolve() for target in _LINK.findall(index.read_text())}

    assert {page for page in PAGES if DOCS in page.parents} - {index} - linked == set()


def test_the_saga_of_the_tutorial_passes_its_own_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "tutorial" / "first-saga.md").read_text()
    definition, stories = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module = ModuleType("sagas.definitions.order_fulfilment_2")
    exec(definition, vars(module))  # noqa: S102 - our own text
    monkeypatch.setitem(sys.modules, module.__name__, module)
    told: dict[str, Any] = {}
    exec(stories, told)  # noqa: S102

    tests = [value for name, value in told.items() if name.startswith("test_")]

    assert len(tests) == 4
    for test in tests:
        test()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    links = [target for target in _LINK.findall(_CODE.sub("", page.read_text())) if not re.match(r"[a-z]+:", target)]
    broken = []
    for target in links:
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)

    assert broken == []


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (PROJECT / package).rglob("*.py")


def _calls(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if isinstance(node.args[0].value, str):
                yield name, node.args[0].value


def _named_in(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", (DOCS / "reference" / page).read_text()))


def _anchors(page: Path) -> set[str]:
    """As forges make them from the headings."""
    headings = _HEADING.findall(_CODE.sub(lambda code: code[0].strip("`").replace("#", ""), page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
