"""Every address of the product, in one place."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config import views

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
        SpectacularSwaggerView.as_view(url_name="schema", authentication_classes=[], permission_classes=[]),
        name="docs",
    ),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics),
    path("admin/", admin.site.urls),
]
