"""Which pages an operator opens: every list, plain, with each filter, with each kind of search, and far down."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.contrib.messages.storage.fallback import FallbackStorage
from django.test import RequestFactory
from django.urls import reverse

from bench.desk.timing import Page
from desk.bulk.models import BulkRun
from outbox.models import Message
from sagas.models import Case

# Far down: after this many pages the last reader gives up.
DEEP = 200
# What is typed into a search field, besides whole ids: a gateway's reference, words of an error, nothing that exists.
WORDS = ("ch_0cc175b9c0f1b6a831c399e269772661", "refuses to refund", "in_transit", "no such thing")
# What is filled in where a filter is a form: by the end of a parameter's name.
VALUES = {"from": "20000", "to": "60000", "gte": "2026-01-01", "lte": "2100-01-01"}
# The filter of the list of cases that has a choice of its own for all of them.
OPEN_ONLY = "status__exact"
# Of these one row is opened.
ONE_OF_EACH = (
    "sagas.SagaInstance",
    "sagas.OperatorAction",
    "sagas.Approval",
    "outbox.Delivery",
    "outbox.Attempt",
    "orders.Order",
    "payments.Payment",
    "payments.Refund",
    "shipping.Shipment",
)


def all_pages(home: str) -> list[Page]:
    """Return every page to measure; `home` is the source of the desk's first page, whose sidebar leads to the lists."""
    found: dict[str, Page] = {}
    for page in (*_first_pages(home), *_lists(), *_bulk_runs(), *_details()):
        found.setdefault(page.url, page)
    return list(found.values())


def _first_pages(home: str) -> Iterator[Page]:
    yield Page(what="home", url="/admin/")
    for href in re.findall(r'href="(/admin/[^"#]*)"', home):
        url = html.unescape(href)
        if "logout" not in url and "password" not in url and "jsi18n" not in url:
            yield Page(what=f"sidebar {url.removeprefix('/admin/')}", url=url)


def _lists() -> Iterator[Page]:
    for page in (admin.site.get_model_admin(model) for model in apps.get_models() if admin.site.is_registered(model)):
        label = page.opts.label_lower
        url = reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_changelist")
        yield Page(what=label, url=url)
        yield Page(what=f"{label} page {DEEP}", url=f"{url}?p={DEEP}")
        for parameters in _filters(page, url):
            yield Page(what=f"{label} {urlencode(parameters)}", url=f"{url}?{urlencode(parameters)}")
        if page.get_search_fields(_request(url)):
            for text in (*_ids(), *WORDS):
                yield Page(what=f"{label} search {text[:20]}", url=f"{url}?{urlencode({'q': text})}")


def _filters(page: ModelAdmin[Any], url: str) -> Iterator[dict[str, str]]:
    """Yield what each choice of each filter adds to the address of a list."""
    changelist = page.get_changelist_instance(_request(url))
    for spec in changelist.filter_specs:
        for parameters in _choices(spec, changelist):
            yield parameters
            if page.model is Case:
                # This list shows open ones unless others are asked for too.
                yield {OPEN_ONLY: "all"} | parameters


def _choices(spec: Any, changelist: ChangeList) -> Iterator[dict[str, str]]:
    if isinstance(spec, admin.SimpleListFilter):
        yield from ({str(spec.parameter_name): str(value)} for value, _ in spec.lookup_choices)
        return
    queries = [str(choice["query_string"]) for choice in spec.choices(changelist) if choice.get("query_string")]
    yield from (found for query in queries if (found := dict(parse_qsl(query.removeprefix("?")))))
    if not queries:
        # A form to fill in.
        for name in spec.expected_parameters():
            yield from ({name: value} for end, value in VALUES.items() if name and name.endswith(end))


def _ids() -> Sequence[str]:
    """Return ids that exist: of an order and its saga with a case, of a message, and of an order without a case."""
    case = Case.objects.filter(status=Case.Status.OPEN).latest("id")
    order, message = rows_of("orders.Order").latest("id"), Message.objects.order_by("-id").first()
    payment = rows_of("payments.Payment").get(order_id=case.key)
    assert message is not None
    return [str(each) for each in (case.key, case.saga_id, message.pk, order.pk)] + [payment.reference, payment.pk]


def rows_of(label: str) -> Any:
    """Return the rows of a table, whose model nobody outside its context imports."""
    return apps.get_model(label).objects


def _bulk_runs() -> Iterator[Page]:
    """Yield the pages of a run over every open case: as it was before it began, and as it ended."""
    for run in BulkRun.objects.order_by("pk"):
        url = reverse("desk:bulk-run", args=[run.pk])
        yield Page(what=f"bulk run of {run.size} cases: {run.phase}", url=url)
        yield Page(what=f"bulk run of {run.size} cases: {run.phase}, last page", url=f"{url}?page={run.size // 50}")
        yield Page(what=f"bulk run of {run.size} cases: {run.phase}, done", url=f"{url}?outcome=DONE")


def _details() -> Iterator[Page]:
    """Yield one page of each kind of row, which has no limit to keep but is shown."""
    case = Case.objects.filter(status=Case.Status.OPEN).latest("id")
    yield Page(what="one case", url=reverse("admin:sagas_case_change", args=[case.pk]), is_list=False)
    yield Page(what="one order's story", url=reverse("desk:order", args=[case.key]), is_list=False)
    for label in ONE_OF_EACH:
        opts = apps.get_model(label)._meta  # noqa: SLF001 - the public name of it
        row = rows_of(label).order_by("-pk").first()
        if row is not None:
            url = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk])
            yield Page(what=f"one {opts.label_lower}", url=url, is_list=False)


def _request(url: str) -> Any:
    request: Any = RequestFactory().get(url)
    request.user = User.objects.get(is_superuser=True)
    request.session = {}
    request._messages = FallbackStorage(request)  # noqa: SLF001 - where messages look for it
    return request
