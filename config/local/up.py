"""A program that runs the whole product on this machine until it is told to stop: `make up`.

While it runs, `var/up.json` tells scripts where everything is. It is the one that starts and supervises the
processes, for the demo too, which runs this program and talks to it by that file.
"""

import argparse
import os
import signal
import sys
import time
from types import FrameType

from config.local.errors import BadOption, LocalStackError
from config.local.folder import FolderHeld, Hold, StateFolder, write_privately
from config.local.leash import die_with_parent
from config.local.people import OPERATOR
from config.local.ports import free_port, is_free
from config.local.processes import Supervisor
from config.local.servers import DATABASE_NAME
from config.local.stack import Stack, check_options, start_stack

_TEND_SECONDS = 0.1
_STOP_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StopRequested(BaseException):
    """Somebody asked the program to stop; it may arrive anywhere, so it is no ordinary exception."""


def main() -> None:
    """Run until stopped. Exits with 2 on a wrong option or a second stack, 1 if something does not start."""
    options = _parser().parse_args()
    for request in _STOP_REQUESTS:
        signal.signal(request, _request_stop)
    folder = StateFolder.of_project()
    try:
        if options.with_parent:
            die_with_parent(parent_pid=os.getppid(), death_signal=signal.SIGTERM)
        check_options(os.environ)
        with folder.hold(purpose="the stack") as hold:
            _run(options, hold=hold, folder=folder)
    except _StopRequested:
        _say("Stopped.")
    except LocalStackError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, BadOption | FolderHeld) else 1)


def _run(options: argparse.Namespace, *, hold: Hold, folder: StateFolder) -> None:
    supervisor = Supervisor(folder=folder)
    try:
        stack = start_stack(
            supervisor=supervisor,
            folder=folder,
            port=_port(options.port),
            customers=options.customers,
            database=options.database,
            is_fresh=options.fresh,
        )
        write_privately(folder.up_file, stack.describe(pids=supervisor.pids()))
        _say(_ways_in(stack))
        while True:
            for name in supervisor.tend():
                write_privately(folder.up_file, stack.describe(pids=supervisor.pids()))
                _say(f"{name} had ended; it runs again.")
            time.sleep(_TEND_SECONDS)
    finally:
        # A second Ctrl-C must not leave half of it running.
        for request in _STOP_REQUESTS:
            signal.signal(request, signal.SIG_IGN)
        hold.say_stopping()
        folder.up_file.unlink(missing_ok=True)
        supervisor.stop()


def _say(text: str) -> None:
    """Print; a reader who has gone must not bring the stack down."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _request_stop(_signal: int, _frame: FrameType | None) -> None:
    raise _StopRequested


def _port(wanted: int) -> int:
    if wanted == 0:
        return free_port()
    if not is_free(wanted):
        raise BadOption(f"PORT={wanted} is in use by another program; choose another one.")
    return wanted


def _ways_in(stack: Stack) -> str:
    return "\n".join(
        (
            f"Shop API   {stack.url}/api/v1/  (described at {stack.url}/api/docs)",
            f"           Authorization: Token {stack.tokens[0]}",
            f"The desk   {stack.url}/admin/  ({OPERATOR} / {stack.admin_password})",
            f"Bank       {stack.environment['BANK_URL']}/ledger",
            f"Carrier    {stack.environment['CARRIER_URL']}/ledger",
            "Ctrl-C stops everything.",
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m config.local.up", description="Run the product on this machine.")
    parser.add_argument("--port", type=int, default=8000, help="of the shop; 0 picks a free one")
    parser.add_argument("--customers", type=_positive, default=1, help="how many customers get a token")
    parser.add_argument("--database", default=DATABASE_NAME, help="name of the embedded database")
    parser.add_argument("--fresh", action="store_true", help="begin with an empty embedded database and ledger")
    parser.add_argument("--with-parent", action="store_true", help="stop when the program that started this one ends")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
