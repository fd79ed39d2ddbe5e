"""Orders as a Django app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """What customers bought, at which price, and how far it got."""

    name = "orders"
    verbose_name = "Orders"

    def ready(self) -> None:
        """Make the handlers of this context known to the relay."""
        from orders.handlers import CONSUMER
        from outbox.consumers import CONSUMERS

        CONSUMERS.register(CONSUMER)
