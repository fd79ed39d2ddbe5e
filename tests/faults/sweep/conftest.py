"""A shop whose processes can be made to die at any commit and any call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.sweep.frame import Frame
from tests.running import running_shop


@pytest.fixture
def frame(
    request: pytest.FixtureRequest, tmp_path: Path, record_property: Callable[[str, object], None]
) -> Iterator[Frame]:
    """Start a shop with crash points and short waits."""
    folder = tmp_path / "crash-points"
    name = request.node.name.removeprefix("test_")
    # Where the bank gives no answer, the shop waits for several of these until a charge counts as lost.
    timeout = "0.3" if name in {"sweep_cancel", "sweep_late_charge"} else "0.5"
    with running_shop(
        name=name, RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS=timeout, CRASH_POINTS=str(folder)
    ) as shop:
        yield Frame(shop=shop, folder=folder, show=record_property)
