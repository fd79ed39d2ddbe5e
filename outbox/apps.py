"""The outbox as a Django app."""

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """Reliable messaging: what was said, what is still to be handed on, and what was already handled."""

    name = "outbox"
    verbose_name = "Messages"
