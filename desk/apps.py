"""The operators' desk as a Django app: pages that tell one story across all contexts."""

from django.apps import AppConfig


class DeskConfig(AppConfig):
    """What a person sees of orders, sagas and messages, and what the person can do."""

    name = "desk"
    verbose_name = "Desk"
