"""What a sweep has found: a table for people, and var/sweep.json, into which each scenario writes its part."""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from config.local.folder import PROJECT
from outbox.crash_points import Side
from tests.faults.sweep.sweeping import EXCLUDED, REPEATED, Sweep, Trial
from tests.faults.sweep.watcher import Watcher

REPORT = PROJECT / "var" / "sweep.json"
_SIGNS = {True: "ok", False: "FAILED"}


def report(*, name: str, sweep: Sweep, watcher: Watcher, seconds: float, problems: Sequence[str]) -> str:
    """Write down what came of a sweep; return it as a table. `problems` are those of the sweep as a whole."""
    part = {
        "points_found": len(sweep.points),
        "points_hit": len({_name(trial) for trial in sweep.trials if trial.is_hit and len(trial.targets) == 1}),
        "crashes": len(sweep.trials),
        "crashes_hit": sum(trial.is_hit for trial in sweep.trials),
        "ends": Counter(trial.end for trial in sweep.trials),
        "pairs": sum(trial.is_hit for trial in sweep.trials if len(trial.targets) == 2),
        "runs": sweep.runs,
        "seconds": round(seconds, 1),
        "looks_of_the_watcher": watcher.looks,
        "problems": [problem for trial in sweep.trials for problem in trial.problems] + list(problems),
        "trials": [msgspec.to_builtins(_describe(trial)) for trial in sweep.trials],
        "passed_by_chance": sweep.irregular,
    }
    _write(REPORT, name, part)
    return _draw(name, part, sweep.trials)


def _describe(trial: Trial) -> dict[str, Any]:
    return {
        "crashes": [
            {"point": target.name, "ordinal": target.ordinal, "side": target.side, "role": role}
            for target, role in zip(trial.targets, trial.roles, strict=True)
        ],
        "hit": trial.is_hit,
        "tries": trial.tries,
        "seconds": round(trial.seconds, 2),
        "end": trial.end,
        "problems": trial.problems,
    }


def _name(trial: Trial) -> tuple[str, int]:
    return trial.targets[0].name, trial.targets[0].ordinal


def _write(path: Path, name: str, part: dict[str, Any]) -> None:
    """Put the part into the report that several test processes share."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        whole = json.loads(text) if text else {}
        whole["not_swept"] = EXCLUDED | {point: why for point, (_, why) in REPEATED.items()}
        whole.setdefault("scenarios", {})[name] = part
        file.truncate(0)
        file.write(json.dumps(whole, indent=1, sort_keys=True))


def _draw(name: str, part: dict[str, Any], trials: Sequence[Trial]) -> str:
    title = (
        f"{name}: {part['points_found']} points found, crashed at {part['points_hit']}; "
        f"{part['crashes_hit']} of {part['crashes']} crashes hit, {part['pairs']} of them in pairs; "
        f"{part['runs']} runs in {part['seconds']:.0f} s, {part['looks_of_the_watcher']} looks at the totals, "
        f"{len(part['problems'])} problems"
    )
    table = Table("where", "role", *(side.value for side in Side), title=title, title_justify="left")
    for where, role, verdicts in _rows(trials):
        table.add_row(where, role, *(verdicts.get(side, "") for side in Side))
    with StringIO() as text:
        Console(file=text, width=180).print(table, *part["problems"], sep="\n")
        return text.getvalue()


def _rows(trials: Sequence[Trial]) -> list[tuple[str, str, dict[Side, str]]]:
    rows: dict[tuple[str, str], dict[Side, str]] = {}
    for trial in trials:
        *before, last = trial.targets
        where = "".join(f"{target.name} {target.ordinal} {target.side} → " for target in before)
        key = f"{where}{last.name} {last.ordinal}", " → ".join(trial.roles)
        sides = rows.setdefault(key, {})
        is_fine = trial.is_hit and not trial.problems and sides.get(last.side) != _SIGNS[False]
        sides[last.side] = _SIGNS[is_fine]
    return [(where, role, verdicts) for (where, role), verdicts in rows.items()]
