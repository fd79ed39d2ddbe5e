"""Run the simulated bank and carrier: `python -m simulator --port N`.

The ledger's file is named by SIMULATOR_LEDGER. With `--webhook-url` the bank sends webhooks there, signed with the
secret in SIMULATOR_WEBHOOK_SECRET, which is no option because others can read those. One line is printed once calls
are accepted, and no other unless the simulator itself has a bug.
"""

import argparse
import os
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path

import uvicorn

from simulator.app import build_app
from simulator.ledger import Ledger
from simulator.webhooks import Webhooks

HOST = "127.0.0.1"
DEFAULT_LEDGER = "var/simulator.sqlite3"
HOLD_SECONDS = 15.0
"""How long a call is kept waiting: longer than any caller's own timeout should be."""
KEEP_ALIVE_SECONDS = 75
"""Longer than callers keep an idle connection, so that it is never closed under a request on its way."""


def main() -> None:
    """Serve until stopped. Exits with 2 if the port or the ledger cannot be had."""
    parser = argparse.ArgumentParser(prog="simulator", description="The simulated bank and carrier.")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--hold-seconds", type=float, default=HOLD_SECONDS, help="how long a silent call waits")
    parser.add_argument("--webhook-url", default="", help="where the bank tells of charges and refunds")
    options = parser.parse_args()
    secret = os.environ.get("SIMULATOR_WEBHOOK_SECRET", "")
    if options.webhook_url and not secret:
        parser.exit(2, "simulator: --webhook-url needs a secret in SIMULATOR_WEBHOOK_SECRET\n")
    path = Path(os.environ.get("SIMULATOR_LEDGER") or DEFAULT_LEDGER)
    try:
        ledger = Ledger(path=path)
        listener = socket.create_server((HOST, options.port), backlog=1024)
    except (OSError, OverflowError, sqlite3.Error) as exc:
        parser.exit(2, f"simulator: cannot start on port {options.port} with ledger {path}: {exc}\n")
    webhooks = Webhooks(ledger=ledger, url=options.webhook_url, secret=secret) if options.webhook_url else None
    app = build_app(ledger=ledger, hold_seconds=options.hold_seconds, webhooks=webhooks)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",  # bugs are logged by the application; to end held calls at the stop is no error
        access_log=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    print(f"simulator: bank and carrier on http://{HOST}:{listener.getsockname()[1]}", flush=True)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
