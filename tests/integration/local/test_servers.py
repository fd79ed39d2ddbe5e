"""Embedded servers: they come, keep what they are told, and go; a kill leaves nothing in the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config.local.account import Account, server_account, shelter
from config.local.errors import LocalStackError
from config.local.folder import FolderHeld, StateFolder
from config.local.postgres import ROLE_NAME
from config.local.processes import Supervisor
from config.local.roster import wait_for_end
from config.local.servers import servers_for_command, start_servers


@contextmanager
def running_servers(folder: StateFolder, given: dict[str, str] | None = None) -> Iterator[dict[str, str]]:
    with folder.hold(purpose="a test"):
        supervisor = Supervisor(folder=folder)
        try:
            yield start_servers(supervisor=supervisor, folder=folder, given=given or {})
        finally:
            supervisor.stop()


@contextmanager
def holder_process(folder: StateFolder) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    command = [sys.executable, "-m", "tests.integration.local.holder", str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            yield holder, json.loads(holder.stdout.readline())
        finally:
            holder.kill()


def noted_processes(folder: StateFolder) -> list[psutil.Process]:
    return [psutil.Process(entry["pid"]) for entry in json.loads((folder.path / "stack.json").read_text())]


def ask(settings: dict[str, str], query: str) -> str:
    with psycopg.connect(settings["DATABASE_URL"], autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return str(row[0]) if row else ""


def test_servers_answer_are_durable_and_are_gone_after_the_stop(folder: StateFolder) -> None:
    with running_servers(folder) as settings:
        version = ask(settings, "SHOW server_version_num")
        fsync = ask(settings, "SHOW fsync")
        with redis.Redis.from_url(settings["REDIS_URL"]) as client:
            assert client.ping()
        processes = noted_processes(folder)

    assert version.startswith("18")
    assert fsync == "on"
    assert settings["SAGA_BRIDGE_EMBEDDED"] == "yes"
    assert not wait_for_end(processes, seconds=20)
    assert json.loads((folder.path / "stack.json").read_text()) == []


def test_servers_ask_for_their_password(folder: StateFolder) -> None:
    with running_servers(folder) as settings:
        password = (folder.path / "postgres" / "password").read_text()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(settings["DATABASE_URL"].replace(password, "guess"))
        with (
            redis.Redis.from_url("redis://" + settings["REDIS_URL"].rpartition("@")[2]) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()

    assert (folder.path / "postgres" / "password").stat().st_mode & 0o077 == 0


def test_data_outlives_a_stop_and_is_made_anew_without_its_password_file(folder: StateFolder) -> None:
    with running_servers(folder) as settings:
        ask(settings, "SELECT 1 FROM pg_class LIMIT 1; CREATE TABLE kept ()")

    with running_servers(folder) as settings:
        assert ask(settings, "SELECT to_regclass('kept')") == "kept"

    (folder.path / "postgres" / "password").unlink()
    with running_servers(folder) as settings:
        assert ask(settings, "SELECT to_regclass('kept')") == "None"


def test_given_servers_are_used_and_not_started(folder: StateFolder) -> None:
    given = {"DATABASE_URL": "postgresql://elsewhere/shop"}

    with running_servers(folder, given) as settings:
        roles = [entry["role"] for entry in json.loads((folder.path / "stack.json").read_text())]

    assert settings["DATABASE_URL"] == given["DATABASE_URL"]
    assert roles == ["valkey"]


def test_killed_holder_takes_its_servers_along_and_the_next_start_works(folder: StateFolder) -> None:
    with holder_process(folder) as (holder, settings):
        ask(settings, "SELECT 1; CREATE TABLE kept ()")
        processes = noted_processes(folder)
        holder.kill()
        holder.wait()
        assert not wait_for_end(processes, seconds=20)

    with running_servers(folder) as settings:
        assert ask(settings, "SELECT to_regclass('kept')") == "kept"


def test_servers_that_a_killed_holder_left_behind_are_ended_by_the_next_start(folder: StateFolder) -> None:
    with holder_process(folder) as (holder, _):
        processes = noted_processes(folder)
        for process in processes:
            process.suspend()
        holder.kill()
        holder.wait()
        for process in processes:
            process.resume()

        with running_servers(folder) as settings:
            assert ask(settings, "SELECT 1") == "1"

    assert not wait_for_end(processes, seconds=20)


def test_stranger_named_by_a_stale_lock_file_is_neither_signalled_nor_in_the_way(folder: StateFolder) -> None:
    with running_servers(folder):
        data = Path(noted_processes(folder)[0].cwd())
    with subprocess.Popen(["sleep", "60"]) as stranger:
        lock_file = data / "postmaster.pid"
        lock_file.write_text(f"{stranger.pid}\n{data}\n1\n5432\n\n127.0.0.1\n\n\n")
        note = [{"role": ROLE_NAME, "pid": stranger.pid, "created_at": 1.0, "stop_signals": [signal.SIGINT]}]
        (folder.path / "stack.json").write_text(json.dumps(note))

        with running_servers(folder) as settings:
            assert ask(settings, "SELECT 1") == "1"

        assert stranger.poll() is None
        stranger.kill()


def test_second_holder_is_refused_in_one_line_that_names_the_first(folder: StateFolder) -> None:
    with (
        folder.hold(purpose="make up"),
        pytest.raises(FolderHeld) as refusal,
        folder.hold(purpose="make demo"),
    ):
        pass

    assert str(refusal.value) == (
        f"Cannot start make demo: {folder.path} is in use by make up (process {os.getpid()}, running)."
    )


def test_data_of_another_version_is_refused_with_what_helps(folder: StateFolder) -> None:
    with running_servers(folder):
        data = Path(noted_processes(folder)[0].cwd())
    (data / "PG_VERSION").write_text("17\n")

    with (
        pytest.raises(LocalStackError, match="made by PostgreSQL 17, this is 18: remove"),
        running_servers(folder),
    ):
        pass


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take the addresses out of `os.environ`; whatever the test puts there is undone."""
    for name in ("DATABASE_URL", "REDIS_URL", "SAGA_BRIDGE_EMBEDDED", "BANK_URL", "CARRIER_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.usefixtures("bare_environment")
def test_command_starts_servers_for_itself_alone(folder: StateFolder) -> None:
    with servers_for_command(name="migrate", folder=folder):
        processes = noted_processes(folder)
        assert ask(dict(os.environ), "SELECT 1") == "1"

    assert not wait_for_end(processes, seconds=20)


def test_command_uses_the_running_stack(folder: StateFolder, bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("REDIS_URL", "redis://given/0")
    stack = {"database_url": "postgresql://stack/shop", "redis_url": "redis://stack/0"}
    stack |= {"bank_url": "http://stack/bank", "carrier_url": "http://stack/carrier"}

    with folder.hold(purpose="make up"):
        folder.up_file.write_text(json.dumps(stack))
        with servers_for_command(name="migrate", folder=folder):
            seen = dict(os.environ)

    assert seen["DATABASE_URL"] == "postgresql://stack/shop"
    assert seen["REDIS_URL"] == "redis://given/0"
    assert seen["BANK_URL"] == "http://stack/bank"


def test_up_file_of_a_dead_stack_is_not_believed(folder: StateFolder) -> None:
    with folder.hold(purpose="make up"):
        pass
    folder.up_file.write_text("{}")

    assert folder.running_stack() is None


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a temporary folder of the system for itself."""
    place = Path(tempfile.mkdtemp(prefix="saga-bridge-test-"))
    place.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    shutil.rmtree(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give its server a place of its own")
def test_root_keeps_data_out_of_a_closed_folder_without_opening_it(folder: StateFolder, temporary_folder: Path) -> None:
    folder.path.parent.chmod(0o700)

    with running_servers(folder) as settings:
        assert ask(settings, "SELECT 1") == "1"
        server = noted_processes(folder)[0]
        account = server_account()
        assert account is not None
        assert server.uids().real == account.uid
        assert Path(server.cwd()).is_relative_to(temporary_folder)

    assert folder.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("is_link", [True, False])
def test_planted_shelter_is_refused(temporary_folder: Path, is_link: bool) -> None:
    account = Account(name="somebody", uid=12345, gid=12345)
    planted = shelter(account=account)
    planted.rmdir()
    elsewhere = temporary_folder / "elsewhere"
    elsewhere.mkdir()
    if is_link:
        planted.symlink_to(elsewhere)
    else:
        planted.mkdir()
        planted.chmod(0o777)

    with pytest.raises(LocalStackError, match="is not a folder of ours: remove it"):
        shelter(account=account)
