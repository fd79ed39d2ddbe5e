"""A program for the tests: it holds a state folder with running servers until it is killed.

Usage: python -m tests.integration.local.holder FOLDER   (prints the settings as JSON once they run)
"""

import json
import sys
import time
from pathlib import Path

from config.local.folder import StateFolder
from config.local.processes import Supervisor
from config.local.servers import start_servers


def main() -> None:
    folder = StateFolder(path=Path(sys.argv[1]))
    with folder.hold(purpose="a holder"):
        supervisor = Supervisor(folder=folder)
        print(json.dumps(start_servers(supervisor=supervisor, folder=folder, given={})), flush=True)
        time.sleep(60)


if __name__ == "__main__":
    main()
