#!/usr/bin/env python
"""Django's command line, with the servers that a command needs: given, of the running stack, or embedded."""

import os
import sys
from contextlib import ExitStack

from django.core.management import execute_from_command_line

_NEEDS_NO_SERVERS = {"help", "version", "--help", "-h", "--version"}


def main() -> None:
    """Run the command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    is_local = os.environ.get("ENVIRONMENT", "local") == "local"
    has_servers = bool(os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))
    with ExitStack() as scope:
        if is_local and not has_servers and command not in _NEEDS_NO_SERVERS:
            # Production has not installed what this needs.
            from config.local.errors import LocalStackError
            from config.local.folder import StateFolder
            from config.local.servers import servers_for_command

            try:
                scope.enter_context(servers_for_command(name=command, folder=StateFolder.of_project()))
            except LocalStackError as error:
                sys.exit(str(error))
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
