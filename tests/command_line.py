"""A command as the shell sees it: what it prints, and its exit code."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any
from unittest.mock import patch

from django.core.management import execute_from_command_line
from django.db import connections


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


def run(*arguments: object) -> Ended:
    """Run `manage.py` with these arguments in this process, within the transaction of the test."""
    out, err, code = StringIO(), StringIO(), 0
    # A command closes the connections at its end, and the test's transaction with them.
    with redirect_stdout(out), redirect_stderr(err), patch.object(connections, "close_all"):
        try:
            execute_from_command_line(["manage.py", *map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())
