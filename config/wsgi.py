"""The WSGI entry point of the web processes."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from config.trust import require_distrust

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()
require_distrust()
# A worker that takes requests has all views loaded: the first customer does not pay for the imports.
get_resolver().url_patterns  # noqa: B018 - reading it loads them
