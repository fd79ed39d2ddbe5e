"""A program that runs the main job end to end: `make demo`.

It starts the product as `make up` does, with an empty database of its own, plays the scripted orders (and
generated ones) over HTTP, has a person's part done by the service that the desk uses, and lets the
consistency audit speak.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from config.local.folder import PROJECT, StateFolder
from config.local.leash import die_with_parent
from config.local.scenarios import REFUSED_REFUND, SCENARIOS, SETTLING_SECONDS
from config.local.shop import Customer
from config.local.traffic import Result, run_traffic

_TRAFFIC_CUSTOMERS = 12
# The demo is many customers behind one address.
_NO_LIMIT = {"THROTTLE_CUSTOMER": "1000000/min", "THROTTLE_ADDRESS": "1000000/min"}
_CASE_POLL_SECONDS = 1.0
# Without a terminal, wide enough for a line a row.
_PLAIN_WIDTH = 140
_RESOLVED = "case, resolved, CANCELLED shipping_refused"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the outcome table."""

    name: str
    expected: str
    actual: str

    @property
    def is_as_scripted(self) -> bool:
        """Tell whether it ended as it must."""
        return self.expected == self.actual


def main() -> None:
    """Run the demo. Exits with 0 only if every order ended as scripted and the audit found nothing."""
    parser = argparse.ArgumentParser(prog="python -m config.local.demo", description="Show the product at work.")
    parser.add_argument("--orders", type=int, default=0, help="generated orders beside the scripted ones")
    parser.add_argument("--with-parent", action="store_true", help="stop when the program that started this one ends")
    options = parser.parse_args()
    if options.orders < 0:
        parser.error("--orders must be 0 or more")
    # SIGINT too: a program started in the background has it ignored.
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    if options.with_parent:
        die_with_parent(parent_pid=os.getppid(), death_signal=signal.SIGTERM)
    try:
        with _running_stack() as stack:
            rows = asyncio.run(_play(stack, orders=options.orders))
            _print_table(rows)
            is_consistent = _audit()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    sys.exit(0 if is_consistent and all(row.is_as_scripted for row in rows) else 1)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _running_stack() -> Iterator[dict[str, Any]]:
    customers = 1 + len(SCENARIOS) + _TRAFFIC_CUSTOMERS
    options = ["--with-parent", "--port=0", f"--customers={customers}", "--database=demo", "--fresh"]
    started = time.monotonic()
    print("Starting PostgreSQL, Valkey, the bank, the carrier, the shop and its workers.", flush=True)
    with subprocess.Popen(
        [sys.executable, "-m", "config.local.up", *options],
        stdout=subprocess.PIPE,
        env=os.environ | _NO_LIMIT,
        cwd=PROJECT,
        # Ctrl-C is ours; we pass it on.
        start_new_session=True,
    ) as up:
        try:
            # The first line comes when all is up, the end of the file when it is not.
            if up.stdout is None or not up.stdout.readline():
                sys.exit(up.wait())
            stack = StateFolder.of_project().running_stack()
            if stack is None:
                sys.exit("The stack stopped at once.")
            print(f"Up after {time.monotonic() - started:.1f} s: {stack['url']}", flush=True)
            yield stack
        finally:
            up.terminate()
            up.wait()


async def _play(stack: dict[str, Any], *, orders: int) -> list[Row]:
    async with _customers(stack) as (first, *others):
        scripted, crowd = others[: len(SCENARIOS)], others[len(SCENARIOS) :]
        plays = [
            _row(scenario.name, scenario.expected, scenario.act(customer))
            for scenario, customer in zip(SCENARIOS, scripted, strict=True)
        ]
        desk = _row("refund refused for good", _RESOLVED, _resolve_dead_letter(first))
        rows = list(await asyncio.gather(*plays, desk))
        if orders:
            rows += _rows_of(await run_traffic(customers=crowd, orders=orders))
    return rows


async def _row(name: str, expected: str, play: Awaitable[str]) -> Row:
    try:
        return Row(name=name, expected=expected, actual=await play)
    except (httpx.HTTPError, LookupError, ValueError) as error:
        return Row(name=name, expected=expected, actual=f"{type(error).__name__}: {error}")


async def _resolve_dead_letter(customer: Customer) -> str:
    """Order what is neither shipped nor refunded, and do the part of the person who has to settle it."""
    answer = await customer.order(items={"MUG-WHITE": 1}, payment_method=REFUSED_REFUND, country="AQ")
    order_id = answer.raise_for_status().json()["id"]
    limit = time.monotonic() + SETTLING_SECONDS
    while order_id not in (await _manage("saga_list", "--status", "SUSPENDED", "--json")).stdout:
        if time.monotonic() > limit:
            return f"no case, {await customer.end_of(order_id, seconds=0)}"
        await asyncio.sleep(_CASE_POLL_SECONDS)
    reason = ["--reason", "Refunded by bank transfer", "--reference", "DEMO-1"]
    resolved = await _manage("saga_resolve", order_id, *reason)
    if resolved.returncode != 0:
        return f"not resolved: {resolved.stderr.strip()}"
    return f"case, resolved, {await customer.end_of(order_id, seconds=SETTLING_SECONDS)}"


async def _manage(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", *arguments]
    return await asyncio.to_thread(subprocess.run, command, cwd=PROJECT, capture_output=True, text=True, check=False)


@asynccontextmanager
async def _customers(stack: dict[str, Any]) -> AsyncIterator[list[Customer]]:
    # Longer than the shop itself takes to give up on whatever it waits for.
    async with httpx.AsyncClient(base_url=stack["url"], timeout=60) as http:
        yield [Customer(http=http, token=token) for token in stack["tokens"]]


def _rows_of(result: Result) -> list[Row]:
    orders = result.ends.total()
    print(
        f"{orders} generated orders: accepted in {result.sending_seconds:.1f} s"
        f" ({orders / result.sending_seconds:.0f}/s), all settled after {result.settling_seconds:.1f} s"
        f" ({orders / result.settling_seconds:.0f}/s)."
    )
    return [
        Row(name=f"{count} generated", expected=expected, actual=actual)
        for (expected, actual), count in sorted(result.ends.items())
    ]


def _print_table(rows: Sequence[Row]) -> None:
    table = Table("scenario", "expected", "actual", "")
    for row in rows:
        table.add_row(row.name, row.expected, row.actual, "ok" if row.is_as_scripted else "WRONG")
    Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)


def _audit() -> bool:
    print("Consistency audit:", flush=True)
    return subprocess.run([sys.executable, "manage.py", "audit_consistency"], cwd=PROJECT, check=False).returncode == 0


if __name__ == "__main__":
    main()
