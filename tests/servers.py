"""The servers of a test run: those that the environment names, or embedded ones, one set for all workers.

Several runs may go on in one clone: each takes the first free state folder under `var/test/`.
"""

import os
import re
import shutil
from contextlib import ExitStack

from config.local.folder import FolderHeld, StateFolder
from config.local.processes import Supervisor
from config.local.servers import start_servers


def lead_test_run() -> ExitStack:
    """Start what is not given and complete `os.environ`, which workers inherit; closing it stops all.

    The data is new for every run and may die with the machine: it is not written through to the disk.
    """
    scope = ExitStack()
    if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
        folder = _free_folder(scope)
        shutil.rmtree(folder.path / "postgres", ignore_errors=True)
        supervisor = Supervisor(folder=folder)
        scope.callback(supervisor.stop)
        os.environ.update(start_servers(supervisor=supervisor, folder=folder, is_durable=False))
    return scope


def join_test_run(*, worker: str) -> None:
    """Take a Redis database of this worker's own ("gw0": 1); pytest-django does so in PostgreSQL."""
    number = int(worker.removeprefix("gw")) + 1
    os.environ["REDIS_URL"] = re.sub(r"/\d*$", "", os.environ["REDIS_URL"]) + f"/{number}"


def _free_folder(scope: ExitStack) -> StateFolder:
    number = 0
    while True:
        folder = StateFolder(path=StateFolder.of_project().path / "test" / str(number))
        try:
            scope.enter_context(folder.hold(purpose="a test run"))
        except FolderHeld:
            number += 1
        else:
            return folder
