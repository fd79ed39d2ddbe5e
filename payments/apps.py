"""Payments as a Django app."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Money taken for an order, and given back."""

    name = "payments"

    def ready(self) -> None:
        """Name the messages that payments handles."""
        from outbox.consumers import CONSUMERS
        from payments.handlers import CONSUMER

        CONSUMERS.register(CONSUMER)
