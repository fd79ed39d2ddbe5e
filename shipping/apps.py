"""Shipping as a Django app."""

from django.apps import AppConfig


class ShippingConfig(AppConfig):
    """Parcels handed to the carrier, and stopped again."""

    name = "shipping"

    def ready(self) -> None:
        """Name the messages that shipping handles."""
        from outbox.consumers import CONSUMERS
        from shipping.handlers import CONSUMER

        CONSUMERS.register(CONSUMER)
