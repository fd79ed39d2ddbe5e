"""What the tests of the desk's doors have in common."""

from __future__ import annotations

import pytest

from desk import roles


@pytest.fixture
def roles_made(db: None) -> None:
    """Have the roles there as the migration made them: tests that commit leave an emptied database behind."""
    roles.install(using="default")
