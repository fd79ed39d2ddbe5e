"""All addresses of the desk, from the URL table itself: a page that is new tomorrow is tested tomorrow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.urls import URLPattern, URLResolver, get_resolver

# What stands for any row: it exists in no table, or is the first of one that numbers its rows.
ANY_ROW = {"uuid": str(UUID(int=1)), "int": "1", "path": "1", "slug": "any", "str": "1"}
_PLACE = re.compile(r"<(?:(\w+):)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Page:
    """One address of the desk, with its name in the URL table."""

    name: str
    path: str


def pages_of_the_desk(rows: Mapping[str, object] | None = None) -> list[Page]:
    """Return every address under /admin/, once.

    `rows` says what stands in it: by table (`sagas_case`) or by name of the place (`order_id`); any row elsewhere.
    """
    known = {name: str(value) for name, value in (rows or {}).items()}
    return [page for page in _walk(get_resolver(), "/", "", known) if page.path.startswith("/admin/")]


def _walk(resolver: URLResolver, path: str, names: str, rows: Mapping[str, str]) -> Iterator[Page]:
    for entry in resolver.url_patterns:
        here = path + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry, here, f"{names}{entry.namespace}:" if entry.namespace else names, rows)
        elif isinstance(entry, URLPattern) and entry.name:
            yield Page(f"{names}{entry.name}", _filled(here, f"{names}{entry.name}", rows))


def _filled(path: str, name: str, rows: Mapping[str, str]) -> str:
    path = re.sub(r"\^\(\?P<app_label>(\w+).*", r"\1/", path)
    of_table = next((row for table, row in rows.items() if name.startswith(f"admin:{table}_")), "")

    def value(place: re.Match[str]) -> str:
        return (of_table if place[2] == "object_id" else rows.get(place[2], "")) or ANY_ROW[place[1] or "str"]

    return _PLACE.sub(value, path)
