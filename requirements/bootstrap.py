"""Make `.venv` hold exactly what `dev.lock` names. It needs nothing but Python's standard library.

A run that is interrupted leaves a mark, so that the next one begins anew instead of trusting half an
environment. Two runs at once wait for each other.
"""

import fcntl
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = PROJECT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
LOCKS = Path(__file__).parent
# Package mirrors fail for a moment now and then.
TRIES = 3
PAUSE_SECONDS = 5


def main() -> None:
    """Bring `.venv` up to date and leave the stamp by which `make` knows.

    Exits with 1 and one line that says why if it cannot.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")
    (PROJECT / "var").mkdir(exist_ok=True)
    with (PROJECT / "var" / "bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fill_environment()


def fill_environment() -> None:
    """Make the environment if there is none, or half a one, or of another Python; install the rest."""
    incomplete = ENVIRONMENT / ".incomplete"
    libraries = ENVIRONMENT / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if ENVIRONMENT.exists() and (incomplete.exists() or not libraries.exists()):
        shutil.rmtree(ENVIRONMENT)
    if not ENVIRONMENT.exists():
        print("Making .venv, once.", flush=True)
        ENVIRONMENT.mkdir()
    incomplete.touch()
    run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
    bootstrap = ["--quiet", "--require-hashes", "--requirement", str(LOCKS / "bootstrap.lock")]
    run([str(PYTHON), "-m", "pip", "install", *bootstrap])
    run(
        [
            str(ENVIRONMENT / "bin" / "uv"),
            "pip",
            "sync",
            "--quiet",
            "--python",
            str(PYTHON),
            str(LOCKS / "dev.lock"),
        ]
    )
    incomplete.unlink()
    (ENVIRONMENT / ".synced").touch()


def run(command: list[str]) -> None:
    """Run a command, again after a pause if it fails."""
    for left in reversed(range(TRIES)):
        if subprocess.run(command, check=False).returncode == 0:
            return
        if left:
            print(f"That failed; trying again in {PAUSE_SECONDS} s.", flush=True)
            time.sleep(PAUSE_SECONDS)
    sys.exit(f"This failed {TRIES} times: {' '.join(command)}")


if __name__ == "__main__":
    main()
