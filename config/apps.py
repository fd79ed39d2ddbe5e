"""The composition root as a Django app: it owns the schedules and the commands that look over all rooms."""

from django.apps import AppConfig


class CompositionConfig(AppConfig):
    """What knows every room."""

    name = "config"
    label = "composition"

    def ready(self) -> None:
        """Make the check of the database's roles known."""
        from config import trust  # noqa: F401 - it registers itself
