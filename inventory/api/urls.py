"""The URLs of inventory, below /api/v1/."""

from django.urls import path

from inventory.api.views import ProductListView

urlpatterns = [path("products", ProductListView.as_view(), name="product-list")]
