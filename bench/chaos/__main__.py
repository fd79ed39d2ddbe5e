"""Run the experiment: `python -m bench.chaos --seconds 60 --seed 1`. Exits with 1 unless everything adds up."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType

from rich.console import Console

from bench.chaos import experiment, report, script, wishes
from bench.chaos.product import run_product
from bench.chaos.rival import run_rival
from config.local.errors import LocalStackError
from config.local.folder import PROJECT, StateFolder
from config.local.leash import die_with_parent

# Two cores carry this with a process being started again every two seconds.
RATE = 15.0
CUSTOMERS = 20


def main() -> int:
    """Storm, judge, report. Returns the exit code."""
    options = _parser().parse_args()
    if options.with_parent:
        die_with_parent(parent_pid=os.getppid(), death_signal=signal.SIGTERM)
    for request in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(request, _stop)
    folder = StateFolder(path=StateFolder.of_project().path / "chaos")
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.hold(purpose="make chaos"):
        return _experiment(options, folder)


def _experiment(options: argparse.Namespace, folder: StateFolder) -> int:
    say = Console(stderr=True, highlight=False).print
    wanted = wishes.draw(seed=options.seed, seconds=options.seconds, rate=options.rate, customers=CUSTOMERS)
    events = script.draw(seed=options.seed, seconds=options.seconds)
    stock = wishes.stock(wanted)
    say(f"saga-bridge: {len(wanted)} orders in {options.seconds:g} s, seed {options.seed}")
    with run_product(folder=_below(folder, "product"), customers=CUSTOMERS, stock=stock) as product:
        ours = experiment.run(product, wishes=wanted, events=events, seed=options.seed, gives_up=False, say=say)
        findings = product.audit()
        cases = product.cases()
    for finding in findings:
        say(f"audit: {finding}", markup=False)
    naive = None
    if not options.skip_naive:
        say("the naive flow: the same orders, the same script")
        with run_rival(folder=_below(folder, "naive"), customers=CUSTOMERS, stock=stock) as rival:
            naive = experiment.run(rival, wishes=wanted, events=events, seed=options.seed, gives_up=True, say=say)
    values = report.figures(ours, findings=findings, cases=cases, naive=naive)
    values |= {"seed": options.seed, "seconds": options.seconds, "rate": options.rate}
    report.show(values, ours, naive, cases)
    path = StateFolder.of_project().path / "chaos.json"
    report.write(path, values)
    say(f"written to {path.relative_to(PROJECT)}")
    return int(any(values[name] for name in report.MUST_BE_ZERO))


def _below(folder: StateFolder, name: str) -> StateFolder:
    own = StateFolder(path=folder.path / name)
    own.path.mkdir(exist_ok=True)
    return own


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.chaos", description="Orders, faults, and a verdict.")
    parser.add_argument("--seconds", type=float, default=60, help="how long the storm lasts")
    parser.add_argument("--seed", type=int, default=1, help="of orders and faults")
    parser.add_argument("--rate", type=float, default=RATE, help="orders per second")
    parser.add_argument("--skip-naive", action="store_true", help="do not run the naive flow beside it")
    parser.add_argument("--with-parent", action="store_true", help="stop when the program that started this one ends")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalStackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
