"""What every operators' command has in common: tables for people, `--json` for scripts, one-line errors."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table as RichTable

FINDINGS = 1
BAD_INPUT = 2


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to show, under a title."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""


class OperatorCommand(BaseCommand):
    """A command for people and scripts. A subclass says in `handle` what it does and ends with `show`.

    It exits with 2 on bad input, which includes what `refusals` names, and with 1 on findings, which `handle`
    raises as `found`. Either way stderr gets one line.
    """

    requires_system_checks = ()
    refusals: tuple[type[Exception], ...] = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser; its errors are one line, and end in `run_from_argv` like all others."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.error = _refuse  # type: ignore[method-assign]
        # Django would print what `execute` raises, with the name of the class.
        parser.set_defaults(traceback=True)
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare `--json`."""
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def run_from_argv(self, argv: list[str]) -> None:
        """Run from the command line."""
        try:
            super().run_from_argv(argv)
        except CommandError as error:
            self.stderr.write(f"{argv[1]}: {error}")
            sys.exit(error.returncode)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run, and turn refusals into bad input."""
        self.is_json = bool(options["json"])
        try:
            return super().execute(*args, **options)
        except self.refusals as refusal:
            raise CommandError(str(refusal), returncode=BAD_INPUT) from refusal

    def show(self, value: object, *parts: str | Table) -> None:
        """Print the value as JSON if that is wanted, else the parts for people."""
        if self.is_json:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
            return
        blocks = [part if isinstance(part, str) else self._render(part) for part in parts]
        self.stdout.write("\n\n".join(block.rstrip("\n") for block in blocks))

    def _render(self, table: Table) -> str:
        rows = [[_text(value) for value in row] for row in table.rows]
        return _boxed(table, rows) if self.stdout.isatty() else _plain(table, rows)


def found(text: str) -> CommandError:
    """Return the error that tells of findings."""
    return CommandError(text, returncode=FINDINGS)


def id_of(text: str) -> UUID:
    """Read an id from the command line."""
    try:
        return UUID(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not an id; it must be a UUID") from error


def time_of(text: str) -> datetime:
    """Read a time in ISO 8601 from the command line; UTC unless it names another offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a time; it must look like 2026-11-24T12:30") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def count_of(text: str) -> int:
    """Read a number of things from the command line: 0 or more."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a count; it must be 0 or more")
    return int(text)


def operator_name() -> str:
    """Return the name in the operator log of the account that runs this command."""
    user_id = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(user_id).pw_name}"
    except KeyError:
        return f"cli:{user_id}"


def origin_name() -> str:
    """Return where this command runs, for the operator log: the host."""
    return socket.gethostname()


def _refuse(message: str) -> NoReturn:
    raise CommandError(message, returncode=BAD_INPUT)


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return " ".join(str(value).split())


def _plain(table: Table, rows: Sequence[Sequence[str]]) -> str:
    everything = [table.columns, *rows]
    widths = [max(len(row[i]) for row in everything) for i in range(len(table.columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in everything
    ]
    return "\n".join([table.title, *lines] if table.title else lines)


def _boxed(table: Table, rows: Sequence[Sequence[str]]) -> str:
    console = Console()
    longest_words = [max(len(word) for cell in column for word in cell.split()) for column in zip(*rows, strict=True)]
    if sum(longest_words) + 3 * len(longest_words) >= console.width:
        # A box would have to break words, and an id that is broken cannot be copied.
        return _plain(table, rows)
    boxed = RichTable(*table.columns, title=table.title or None, title_justify="left")
    for row in rows:
        boxed.add_row(*row)
    with console.capture() as capture:
        console.print(boxed, markup=False)
    return capture.get()
