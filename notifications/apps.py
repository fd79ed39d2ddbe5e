"""Notifications as a Django app."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """E-mail to customers; a pure consumer of events."""

    name = "notifications"

    def ready(self) -> None:
        """Name the messages that notifications handles."""
        from notifications.handlers import CONSUMER
        from outbox.consumers import CONSUMERS

        CONSUMERS.register(CONSUMER)
