"""The URLs of orders, below /api/v1/."""

from django.urls import path

from orders.api.views import CancelView, OrdersView, OrderView, ReturnsView

urlpatterns = [
    path("orders", OrdersView.as_view(), name="orders"),
    path("orders/<uuid:order_id>", OrderView.as_view(), name="order"),
    path("orders/<uuid:order_id>/cancel", CancelView.as_view(), name="order-cancel"),
    path("orders/<uuid:order_id>/returns", ReturnsView.as_view(), name="order-returns"),
]
