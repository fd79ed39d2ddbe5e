"""The rooms of the house, as the tests of its architecture see them."""

from pathlib import Path
from types import ModuleType

from django.apps import apps

import inventory.contracts
import orders.contracts
import outbox.contracts
import payments.contracts
import shipping.contracts

ROOT = Path(__file__).resolve().parents[2]
ROOMS = frozenset(
    config.name for config in apps.get_app_configs() if Path(config.path).is_relative_to(ROOT / config.name)
)
CONTEXTS = ROOMS - {"config", "desk", "sagas", "outbox"}
CONTRACTS: tuple[ModuleType, ...] = (
    inventory.contracts,
    orders.contracts,
    outbox.contracts,
    payments.contracts,
    shipping.contracts,
)
PRODUCT = [*ROOMS, "simulator"]


def sources(*folders: str) -> list[Path]:
    """Return the Python files of these folders, but for migrations: those are made, not written."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]
