"""Analytics as a Django app."""

from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    """Read models for reports; a pure consumer of events."""

    name = "analytics"

    def ready(self) -> None:
        """Name the messages that analytics handles."""
        from analytics.handlers import CONSUMER
        from outbox.consumers import CONSUMERS

        CONSUMERS.register(CONSUMER)
