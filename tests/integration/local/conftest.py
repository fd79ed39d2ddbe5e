"""A state folder of its own for every test, in a place that an unprivileged server can reach."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.local.folder import StateFolder


@pytest.fixture
def folder() -> Iterator[StateFolder]:
    place = Path(tempfile.mkdtemp(prefix="saga-bridge-test-"))
    place.chmod(0o755)
    yield StateFolder(path=place / "var")
    shutil.rmtree(place)
