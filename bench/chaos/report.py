"""What the experiment found, as a table and as figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.chaos.experiment import Outcome
from bench.chaos.product import Case

MUST_BE_ZERO = ("inconsistencies", "lost", "double_charges", "oversold", "stuck")
_SHOWN = 20


def figures(
    ours: Outcome, *, findings: Sequence[Mapping[str, str]], cases: Sequence[Case], naive: Outcome | None
) -> dict[str, Any]:
    """Return all figures of a run, the promised names first."""
    failed = [order for order in ours.orders if order.failed]
    refused = {case.key for case in cases if case.is_refusal}
    recovered = [order for order in failed if not order.needs_person and order.id not in ours.verdict.stuck]
    could_recover = [order for order in failed if order.id not in refused]
    verdict = ours.verdict
    return {
        "orders": len(ours.orders),
        "kills": ours.kills,
        "inconsistencies": len(verdict.wrong) + len(findings),
        "lost": len(verdict.lost),
        "double_charges": len(verdict.double_charges),
        "oversold": sum(verdict.oversold.values()),
        "stuck": len(verdict.stuck),
        "recovered_automatically": len(recovered),
        "cases": len(cases),
        "naive_inconsistencies": len(naive.verdict.all_wrong) if naive else None,
        "failed": len(failed),
        "recovered_ratio": len(recovered) / len(could_recover) if could_recover else 1.0,
        "refunds_refused_for_good": len(refused),
        "restarts": ours.restarts,
        "settled_after_s": round(ours.settled_after, 1),
        "settling_p50_s": percentile(ours.settling, 50),
        "settling_p99_s": percentile(ours.settling, 99),
        "unanswered": len(ours.log.unanswered),
        "codes": dict(ours.log.codes),
    }


def percentile(ordered: Sequence[float], wanted: int) -> float | None:
    """Return a percentile of ordered values, rounded to milliseconds; None if there are none."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, len(ordered) * wanted // 100)], 3)


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(values, indent=2) + "\n")


def show(values: Mapping[str, Any], ours: Outcome, naive: Outcome | None, cases: Sequence[Case]) -> None:
    """Print the table, and after it everything that does not add up."""
    table = Table("", "saga-bridge", *(["naive"] if naive else []), title="The same orders through the same faults")
    recovered = f"{values['recovered_automatically']} ({100 * values['recovered_ratio']:.2f} %)"
    rows: list[tuple[str, object, object]] = [
        ("orders", values["orders"], naive and len(naive.orders)),
        ("never answered within the clients' patience", values["unanswered"], naive and len(naive.log.unanswered)),
        ("processes killed", values["kills"], naive and naive.kills),
        ("servers restarted", values["restarts"], naive and naive.restarts),
        ("inconsistencies", values["inconsistencies"], values["naive_inconsistencies"]),
        *(
            (name, values[key], naive and _count(getattr(naive.verdict, key)))
            for name, key in (
                ("promised, but lost", "lost"),
                ("charged twice", "double_charges"),
                ("pieces oversold", "oversold"),
                ("neither ended nor before a person", "stuck"),
            )
        ),
        ("failed on their way", values["failed"], naive and sum(o.failed for o in naive.orders)),
        ("… recovered without a person, of those that could", recovered, naive and "-"),
        ("cases for a person", values["cases"], naive and sum(o.needs_person for o in naive.orders)),
        ("… refunds that the bank refuses for good", values["refunds_refused_for_good"], naive and "-"),
        ("seconds to settle, median", values["settling_p50_s"], naive and percentile(naive.settling, 50)),
        ("seconds to settle, 99th percentile", values["settling_p99_s"], naive and percentile(naive.settling, 99)),
    ]
    for name, mine, other in rows:
        table.add_row(name, str(mine), *([str(other)] if naive else []))
    console = Console()
    console.print(table)
    for line in _complaints(ours, cases)[:_SHOWN]:
        console.print(line, markup=False, highlight=False)


def _count(found: object) -> int:
    if isinstance(found, Mapping):
        return sum(found.values())
    assert isinstance(found, Sequence)
    return len(found)


def _complaints(ours: Outcome, cases: Sequence[Case]) -> list[str]:
    verdict = ours.verdict
    return [
        *(f"wrong: {key}: {'; '.join(reasons)}" for key, reasons in verdict.wrong.items()),
        *(f"lost: {key}" for key in verdict.lost),
        *(f"charged twice: {key}" for key in verdict.double_charges),
        *(f"oversold: {pieces} of {sku}" for sku, pieces in verdict.oversold.items()),
        *(f"stuck: {key}" for key in verdict.stuck),
        *(f"case: {case.key} {case.step} {case.error}"[:300] for case in cases if not case.is_refusal),
    ]
