"""What the product is made of on one machine: which processes, in which order, and when they are ready.

This module and the programs above it hold no database connection of Django's: what needs Django is a command
that they run.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from config.local.errors import BadOption, LocalStackError
from config.local.folder import PROJECT, StateFolder
from config.local.network import put_network
from config.local.people import OPERATOR
from config.local.ports import free_port
from config.local.processes import Role, Supervisor
from config.local.servers import start_servers

CATALOGUE = Path(__file__).with_name("catalogue.csv")
# Queue and number of worker processes. Separate workers, so that a storm in one queue cannot starve another.
WORKERS = {"relay": 2, "effects": 2, "compensations": 1, "sweeps": 1}
_READY_SECONDS = 60.0
_KNOWN_OPTIONS = {"TOPOLOGY": ("monolith",), "FLOW": ("orchestrated",), "TRANSPORT": ("local",)}


def check_options(options: Mapping[str, str]) -> None:
    """Refuse a topology, flow or transport that does not exist.

    Raises:
        BadOption: names the option and what it may be.
    """
    for name, allowed in _KNOWN_OPTIONS.items():
        value = options.get(name) or allowed[0]
        if value not in allowed:
            raise BadOption(f"{name}={value} is not known; it may be: {', '.join(allowed)}.")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The product, running."""

    environment: Mapping[str, str]
    url: str
    admin_password: str
    tokens: list[str]
    network_url: str = ""

    def describe(self, *, pids: Mapping[str, int]) -> str:
        """Return what `up.json` says: where everything is, how to get in, the process id of every role."""
        return json.dumps(
            {
                "url": self.url,
                "bank_url": self.environment["BANK_URL"],
                "carrier_url": self.environment["CARRIER_URL"],
                "token": self.tokens[0],
                "tokens": self.tokens,
                "admin_user": OPERATOR,
                "admin_password": self.admin_password,
                "database_url": self.environment["DATABASE_URL"],
                "redis_url": self.environment["REDIS_URL"],
                "pids": pids,
            },
            indent=2,
        )


def start_stack(
    *,
    supervisor: Supervisor,
    folder: StateFolder,
    port: int,
    customers: int,
    database: str,
    is_fresh: bool,
    has_network: bool = False,
) -> Stack:
    """Start the whole product with its catalogue and customers; return once it takes orders.

    `is_fresh` begins with an empty database and ledger, unless the environment names a database. With `has_network`
    web, workers and beat reach everything through a network that can be cut (`Stack.network_url`).

    Raises:
        LocalStackError: something did not start; the message shows the end of its log.
    """
    servers = start_servers(supervisor=supervisor, folder=folder, database=database, is_fresh=is_fresh)
    environment = environment_of(servers=servers, folder=folder, database=database, is_fresh=is_fresh)
    url = f"http://127.0.0.1:{port}"
    admin_password = secrets.token_urlsafe(12)
    people = {"OPERATOR_PASSWORD": admin_password, "CUSTOMERS": str(customers)}
    tokens = json.loads(_run("-m", "config.local.people", environment=environment | people))

    webhook_url = f"{url}/webhooks/payments/simulated" if environment["BANK_WEBHOOK_SECRETS"] else ""
    behind, network_url = environment, ""
    if has_network:
        network = put_network(environment)
        supervisor.start(_python("network", environment, *network.command))
        wait_for_page(supervisor, name="network", url=f"{network.control_url}/links")
        behind, network_url = dict(network.environment), network.control_url
    # The bank ends together with the web server, which would wait for the bank's idle connections.
    simulator = simulator_role(environment, webhook_url=webhook_url)
    supervisor.start(simulator, web_role(behind, port=port), *worker_roles(behind), beat_role(behind))
    wait_for_page(supervisor, name="simulator", url=f"{environment['OUTSIDE_URL']}/healthz")
    wait_for_page(supervisor, name="web", url=f"{url}/readyz")
    wait_for_workers(supervisor, environment)
    _run("manage.py", "load_catalogue", str(CATALOGUE), environment=environment)
    return Stack(
        environment=environment, url=url, admin_password=admin_password, tokens=tokens, network_url=network_url
    )


def environment_of(*, servers: Mapping[str, str], folder: StateFolder, database: str, is_fresh: bool) -> dict[str, str]:
    """Return the whole environment of the product's processes; `is_fresh` forgets the ledger of bank and carrier."""
    ledger = folder.path / f"simulator-{database}.sqlite3"
    if is_fresh:
        for leftover in folder.path.glob(f"{ledger.name}*"):
            leftover.unlink()
    outside = f"http://127.0.0.1:{free_port()}"
    metrics = folder.path / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir()
    # Whoever sets it to nothing wants a bank that sends no webhooks.
    webhook_secret = os.environ.get("BANK_WEBHOOK_SECRETS", secrets.token_hex(32))
    return os.environ | servers | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "OUTSIDE_URL": outside,
        "BANK_URL": f"{outside}/bank",
        "CARRIER_URL": f"{outside}/carrier",
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "SIMULATOR_LEDGER": str(ledger),
        "BANK_WEBHOOK_SECRETS": webhook_secret,
        "SIMULATOR_WEBHOOK_SECRET": webhook_secret.partition(",")[0],
        "MAIL_FOLDER": str(folder.path / "mail"),
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def simulator_role(environment: Mapping[str, str], *, webhook_url: str = "") -> Role:
    """Return the process of the bank and the carrier; with an address the bank sends webhooks there."""
    port = environment["OUTSIDE_URL"].rpartition(":")[2]
    options = [f"--webhook-url={webhook_url}"] if webhook_url else []
    return _python("simulator", environment, "-m", "simulator", f"--port={port}", *options)


def web_role(environment: Mapping[str, str], *, port: int) -> Role:
    """Return the web server's process."""
    options = [
        "--worker-class=gthread",
        "--workers=2",
        "--threads=8",
        "--graceful-timeout=10",
        "--no-control-socket",
    ]
    return _python("web", environment, "-m", "gunicorn", "config.wsgi", f"--bind=127.0.0.1:{port}", *options)


def worker_roles(environment: Mapping[str, str]) -> list[Role]:
    """Return one worker for each queue."""
    options = ["--without-gossip", "--without-mingle", "--loglevel=INFO"]
    return [
        _celery(queue, environment, "worker", f"-Q{queue}", f"-c{processes}", f"-n{queue}@%h", *options)
        for queue, processes in WORKERS.items()
    ]


def beat_role(environment: Mapping[str, str]) -> Role:
    """Return the process that rings and sweeps by the clock."""
    # No file with its process id: one that a killed beat left behind would stop the next.
    return _celery("beat", environment, "beat", "-Sdjango_celery_beat.schedulers:DatabaseScheduler", "--pidfile=")


def _celery(name: str, environment: Mapping[str, str], *arguments: str) -> Role:
    return _python(name, environment, "-m", "celery", "-Aconfig", *arguments)


def _python(name: str, environment: Mapping[str, str], *arguments: str) -> Role:
    command = [sys.executable, *arguments]
    return Role(name=name, command=command, environment={**environment, "ROLE": name}, folder=PROJECT)


def wait_for_page(supervisor: Supervisor, *, name: str, url: str) -> None:
    """Return once the page is served. Raises `LocalStackError` if its process does not get there."""

    def is_served() -> bool:
        try:
            return httpx.get(url, timeout=5).is_success
        except httpx.TransportError:
            return False

    supervisor.wait_for(name=name, is_ready=is_served, seconds=_READY_SECONDS)


def wait_for_workers(supervisor: Supervisor, environment: Mapping[str, str]) -> None:
    """Return once every worker answers. Raises `LocalStackError` if they do not get there."""
    names = {f"{queue}@{socket.gethostname()}" for queue in WORKERS}
    ping = [
        "-m",
        "celery",
        "-Aconfig",
        "inspect",
        "ping",
        "--json",
        "--timeout=3",
        f"--destination={','.join(names)}",
    ]

    def do_all_answer() -> bool:
        answer = _python("ping", environment, *ping)
        done = subprocess.run(answer.command, env=answer.environment, cwd=PROJECT, capture_output=True, check=False)
        return all(name.encode() in done.stdout for name in names)

    supervisor.wait_for(name="relay", is_ready=do_all_answer, seconds=_READY_SECONDS)


def _run(*arguments: str, environment: Mapping[str, str]) -> str:
    """Run a Python program of the project to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LocalStackError(f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return done.stdout
