"""The Celery app. Its messages only ring: what is due, how often it was tried and when it is next, are rows."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("saga-bridge")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
