"""Pages of a list that may be long: counted as far as anybody reads, and no further."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

# Nobody pages further; a filter or a search finds what lies beyond.
FURTHEST = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to `FURTHEST` rows: to know that there are more costs as much as to count one more."""

    @cached_property
    def counted(self) -> int:
        """How many rows there are, or one more than `FURTHEST`."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: FURTHEST + 1].count()

    @cached_property
    def count(self) -> int:
        """How many rows can be paged through."""
        return min(self.counted, FURTHEST)

    @property
    def has_more(self) -> bool:
        """Whether there are rows beyond the last page."""
        return self.counted > FURTHEST
