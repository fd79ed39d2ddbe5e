"""Every address of the product, in one place."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from config import views
from config.second_factor import pages

urlpatterns = [
    path("api/v1/orders/<uuid:order_id>/timeline", views.TimelineView.as_view(), name="order-timeline"),
    path("api/v1/", include("orders.api.urls")),
    path("api/v1/", include("inventory.api.urls")),
    path("webhooks/payments/", include("payments.api.urls")),
    path(
        "api/schema",
        SpectacularAPIView.as_view(authentication_classes=[], permission_classes=[]),
        name="schema",
    ),
    path(
        "api/docs",
        # Its script has an address of its own: no policy lets a script inside a page run.
        SpectacularSwaggerSplitView.as_view(url_name="schema", authentication_classes=[], permission_classes=[]),
        name="docs",
    ),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics),
    path("admin/second-factor/", admin.site.admin_view(pages.ask), name="second-factor"),
    path("admin/second-factor/setup/", admin.site.admin_view(pages.set_up), name="second-factor-setup"),
    path("admin/desk/", include("desk.urls")),
    path("admin/", admin.site.urls),
]
