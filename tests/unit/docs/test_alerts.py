"""The alert rules name metrics and runbooks that exist; every runbook has its alert, or its failure group."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from desk.groups import RUNBOOKS
from tests.unit.docs.test_docs import DOCS, PROJECT

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROJECT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
METRICS = set(re.findall(r"^\| `([a-z_]+)` \|", (DOCS / "reference" / "metrics.md").read_text(), re.MULTILINE))
# What the language itself says.
WORDS = {"max", "min", "sum", "by", "and", "or", "time", "vector", "increase", "rate"}


def names_in(expression: str) -> set[str]:
    """Return the metrics that an expression reads."""
    without_labels = re.sub(r"by \([^)]*\)|\{[^}]*\}|\[[^\]]*\]", "", expression)
    return set(re.findall(r"[a-z_]{2,}", without_labels)) - WORDS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_reads_metrics_that_exist_and_names_its_runbook(rule: dict[str, Any]) -> None:
    read = names_in(rule["expr"])

    assert read != set()
    assert read - METRICS == set()
    assert (PROJECT / rule["annotations"]["runbook"]).is_file()
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]


def test_every_runbook_has_its_alert_or_its_failure_group_and_no_name_is_given_twice() -> None:
    named = {rule["annotations"]["runbook"] for rule in RULES}
    of_groups = {f"docs/runbooks/{name}.md" for name in RUNBOOKS}

    assert {str(page.relative_to(PROJECT)) for page in (DOCS / "runbooks").glob("*.md")} == named | of_groups
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
