"""Inventory as a Django app."""

from django.apps import AppConfig


class InventoryConfig(AppConfig):
    """Products, what is on hand of them, and what is held for which order."""

    name = "inventory"

    def ready(self) -> None:
        """Name the messages that inventory handles."""
        from inventory.handlers import CONSUMER
        from outbox.consumers import CONSUMERS

        CONSUMERS.register(CONSUMER)
