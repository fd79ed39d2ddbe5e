"""The saga engine as a Django app; it consumes events like any other context."""

from django.apps import AppConfig


class SagasConfig(AppConfig):
    """Coordination: definitions, instances, cases."""

    name = "sagas"
    verbose_name = "Sagas"

    def ready(self) -> None:
        """Register what the engine consumes."""
        from outbox.consumers import CONSUMERS
        from sagas.handlers import consumer

        CONSUMERS.register(consumer())
