"""The browser of the tests: the Chromium that this machine has, or, on Debian as root, the one that apt installs.

Usage: python -m tests.browser.chromium
It prints where the browser is. Playwright's own download is not used: a machine that may install Debian's packages
needs no second source of programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW = "no Chromium here: install it (Debian: apt-get install chromium) or say where it is in PLAYWRIGHT_CHROMIUM"


class NoChromium(Exception):
    """There is no browser, and it cannot be installed from here."""


def find() -> str | None:
    """Return the path of the browser, or None when there is none. Raises `NoChromium` when a wrong one is named."""
    named = os.environ.get("PLAYWRIGHT_CHROMIUM", "")
    if named:
        if not os.access(named, os.X_OK):
            raise NoChromium(f"PLAYWRIGHT_CHROMIUM is {named!r}, which is no program")
        return named
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


def ensure() -> str:
    """Return the path of the browser, installed first if need be. Raises `NoChromium`."""
    if (path := find()) is not None:
        return path
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoChromium(HOW)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        done = subprocess.run(
            ["apt-get", "-qq", *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise NoChromium(f"{HOW}; apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")
    if (path := find()) is None:
        raise NoChromium(HOW)
    return path


def main() -> int:
    """Find or install the browser and say where it is; exit with 1 and one line when there is none."""
    try:
        path = Path(ensure())
    except NoChromium as error:
        print(error, file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
