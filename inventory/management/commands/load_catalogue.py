"""Loads a catalogue file and returns once everyone who sells from it knows the new prices."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from inventory import services
from inventory.catalogue import BadCatalogue, read_catalogue
from outbox import selectors as outbox_selectors

POLL_SECONDS = 0.1


class Command(BaseCommand):
    """Exit code 2 on a bad file: then nothing is written. Exit code 1 when nobody delivers the prices."""

    help = "Load products and stock from a CSV file with the columns sku,name,price,currency,stock."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, metavar="FILE.csv")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument("--no-wait", action="store_true", help="do not wait until the prices are known")
        parser.add_argument(
            "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long to wait (default: 30)"
        )

    def handle(self, *_args: Any, file: Path, timeout: float, **options: Any) -> None:
        """Load the file, wait for the deliveries, print what changed."""
        loading = _load(file)
        if not options["no_wait"]:
            _wait_until_delivered(loading.listing_ids, timeout=timeout)
        if options["json"]:
            result = {
                "products": loading.products,
                "listed": loading.listed,
                "restocked": loading.restocked,
            }
            self.stdout.write(json.dumps(result))
        else:
            self.stdout.write(
                f"products: {loading.products}, new or changed: {loading.listed}, restocked: {loading.restocked}"
            )


def _load(file: Path) -> services.Loading:
    try:
        return services.load_catalogue(rows=read_catalogue(path=file))
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}", returncode=2) from error
    except BadCatalogue as error:
        raise CommandError(f"{file}: {error}", returncode=2) from error
    except services.StockInUse as error:
        problem = f"line {error.row.line}, column stock: {error}"
        raise CommandError(f"{file}: {problem}", returncode=2) from error


def _wait_until_delivered(message_ids: Collection[UUID], *, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    waiting = outbox_selectors.pending(message_ids)
    while waiting:
        if time.monotonic() >= deadline:
            raise CommandError(
                f"the catalogue is loaded, but its prices are not known everywhere after {timeout:g} s "
                f"({len(waiting)} of {len(message_ids)} not delivered): is a relay running?",
                returncode=1,
            )
        time.sleep(POLL_SECONDS)
        waiting = outbox_selectors.pending(waiting)
