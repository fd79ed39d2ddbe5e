"""Look for seeded bugs from the command line: `python -m tests.faults.seeded [name...]`, all of them without a name."""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.faults.seeded.bugs import SeededBug, seeded_bugs
from tests.faults.seeded.report import row, tell
from tests.faults.seeded.workshop import Search, open_workshop
from tests.servers import lead_test_run

SIDE_BY_SIDE = 2


def main(arguments: Sequence[str]) -> int:
    """Look for the bugs whose names, with their numbers or without, begin as told. Returns 1 if one is not caught."""
    parser = ArgumentParser(prog="python -m tests.faults.seeded", description="Look for seeded bugs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a patch, or its beginning; all if none is given")
    names = tuple(parser.parse_args(arguments).names)
    bugs = [bug for bug in seeded_bugs() if not names or bug.name.startswith(names) or bug.title.startswith(names)]
    if not bugs:
        parser.error(f"no patch is named like that: {', '.join(names)}")
    with lead_test_run(), ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        shares = [bugs[number::SIDE_BY_SIDE] for number in range(SIDE_BY_SIDE)]
        searches = [search for share in pool.map(_look_for, shares, range(1, SIDE_BY_SIDE + 1)) for search in share]
    tell([row(search) for search in searches])
    for search in searches:
        if not search.is_caught:
            sys.stderr.write(f"\n{search.bug.name} is not caught:\n{search.output}\n")
    return 0 if all(search.is_caught for search in searches) else 1


def _look_for(bugs: Sequence[SeededBug], redis_number: int) -> list[Search]:
    if not bugs:
        return []
    redis_url = re.sub(r"/\d*$", "", os.environ["REDIS_URL"])
    with open_workshop(redis_url=f"{redis_url}/{redis_number}") as workshop:
        workshop.require_green(bugs)
        return [workshop.look_for(bug) for bug in bugs]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
