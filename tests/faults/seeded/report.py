"""What is told of the search: a table for people, and `var/seeded.json` for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from config.local.folder import PROJECT, StateFolder
from tests.faults.seeded.workshop import Search

# Under this name a test of the proof records its row.
SEEDED = "seeded"
WRITTEN_TO = StateFolder.of_project().path / "seeded.json"


def row(search: Search) -> dict[str, Any]:
    """Return what is kept of one search."""
    return {
        "name": search.bug.name,
        "bug": search.bug.story,
        "caught_by": list(search.caught_by),
        "missed": search.missed,
        "seconds": round(search.seconds, 1),
    }


def tell(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table and write the file."""
    rows = sorted(rows, key=lambda each: each["name"])
    caught = sum(not each["missed"] for each in rows)
    WRITTEN_TO.parent.mkdir(exist_ok=True)
    WRITTEN_TO.write_text(json.dumps({"bugs": len(rows), "caught": caught, "rows": rows}, indent=2) + "\n")

    table = Table("", "bug", "caught by", "s", title="Seeded bugs", title_justify="left")
    for each in rows:
        number, _, _ = each["name"].partition("-")
        tests = [test.rpartition("/")[2].replace("::", " ") for test in each["caught_by"]]
        tests += [f"NOT BY {test.rpartition('/')[2]}: {why}" for test, why in each["missed"].items()]
        table.add_row(number, each["bug"], "\n".join(tests), f"{each['seconds']:.1f}")
    console = Console(width=160, markup=False)
    console.print(table)
    console.print(f"{caught} of {len(rows)} caught; {WRITTEN_TO.relative_to(PROJECT)} has it all")
