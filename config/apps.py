"""The composition root as a Django app: it owns the schedules and the commands that look over all rooms."""

from django.apps import AppConfig


class CompositionConfig(AppConfig):
    """What knows every room."""

    name = "config"
    label = "composition"
    # Above its pages at the desk.
    verbose_name = "Operation"

    def ready(self) -> None:
        """Make the checks known: they register themselves."""
        from config import trust  # noqa: F401
        from config.second_factor import gate  # noqa: F401
