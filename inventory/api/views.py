"""The catalogue over HTTP."""

from __future__ import annotations

from django.db.models import QuerySet
from rest_framework.generics import ListAPIView
from rest_framework.pagination import BasePagination, CursorPagination
from rest_framework.permissions import AllowAny

from inventory import selectors
from inventory.api.serializers import ProductSerializer
from inventory.models import Stock


class ProductListView(ListAPIView[Stock]):
    """List the products with their price and the pieces available now. Open to anyone."""

    permission_classes = (AllowAny,)
    serializer_class = ProductSerializer

    @property
    def paginator(self) -> BasePagination | None:
        """Return the installation's own pages, in SKU order."""
        paginator = super().paginator
        if isinstance(paginator, CursorPagination):
            paginator.ordering = ("product_id",)
        return paginator

    def get_queryset(self) -> QuerySet[Stock]:
        """Return what is to be paged through."""
        return selectors.list_products()
