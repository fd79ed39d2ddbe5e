"""Look for known vulnerabilities in what the product installs, and say so when that could not be done.

pip-audit finds nothing, and is content, when its advisory database does not know the packages (a mirror
without advisories). So it is first shown a release that is known to be vulnerable: only if it finds that one,
its silence about ours means something.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

CANARY = "jinja2==2.4.1"
COMMAND = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--disable-pip", "--timeout=10"]


def main() -> None:
    """Audit `base.lock`. Exits with 1 on a finding; says NOT AUDITED if there is no advisory database."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as canary:
        canary.write(CANARY)
        canary.flush()
        command = [*COMMAND, "--no-deps", "-r", canary.name]
        trial = subprocess.run(command, capture_output=True, text=True, check=False)
    if trial.returncode != 1 or "jinja2" not in trial.stdout:
        print(f"NOT AUDITED: no advisory database is reached (pip-audit finds nothing wrong with {CANARY}).")
        return
    lock = Path(__file__).with_name("base.lock")
    sys.exit(subprocess.run([*COMMAND, "--require-hashes", "-r", str(lock)], check=False).returncode)


if __name__ == "__main__":
    main()
