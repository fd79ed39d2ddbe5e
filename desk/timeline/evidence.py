"""An order's story as one file, for whoever has to prove what happened: complete, redacted, sealed by its hash.

It is read in one snapshot into a file of our own before any of it is sent, so that it fits together, and a slow reader
holds no snapshot open. That it was taken along stands in the operator log, with the hash. See
docs/reference/evidence.md for the schema.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db import connection, transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.module_loading import import_string
from django.views.decorators.http import require_POST

from desk.operators import operator_of, origin_of
from desk.pages import desk_page
from desk.timeline.entries import KINDS, whole_story
from desk.timeline.page import EXPORTS
from desk.timeline.shape import Entry
from orders.selectors import find_order
from outbox.redaction import redacted
from sagas import operator_log
from sagas.models import SagaInstance
from sagas.selectors import describe

SCHEMA, SCHEMA_VERSION = "saga-bridge.order-evidence", 1
ACTION = "evidence"
# Up to here it is built in memory; larger ones go to a file of the system's temp folder, which nobody else can open.
IN_MEMORY = 1024 * 1024
# It has everything, so it takes the right to see everything.
PERMISSIONS = (EXPORTS, *sorted({name for kind in KINDS.values() for name in kind.permissions}))


@desk_page(*PERMISSIONS)
@require_POST
def download(request: HttpRequest, order_id: UUID) -> HttpResponse | FileResponse:
    """Send the evidence of an order as a file, and write that down; without a reason nothing is sent."""
    reason = request.POST.get("reason", "").strip()
    if not reason:
        messages.error(request, "Nothing was downloaded: say what the evidence is for.")
        return HttpResponseRedirect(reverse("desk:order", args=[order_id]))
    spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the answer closes it
    try:
        seal(spool, order_id=order_id, operator=operator_of(request), origin=origin_of(request), reason=reason)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    answer = FileResponse(
        spool, as_attachment=True, filename=f"evidence-{order_id}.json", content_type="application/json"
    )
    answer["Cache-Control"] = "no-store"
    return answer


def seal(file: IO[bytes], *, order_id: UUID, operator: str, origin: str, reason: str) -> str:
    """Write the evidence of an order into a file and that into the operator log; return the hash of its content.

    Raises `Http404` when nothing is known of the order.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT now()")
            (now,) = cursor.fetchone()
        digest, totals = _write(file, order_id, _head(order_id, operator, reason, now))
        if not totals:
            raise Http404("no order has this id")
        operator_log.write(
            operator=operator,
            origin=origin,
            action=ACTION,
            key=order_id,
            reason=reason,
            seen={"sha256": digest, "schema_version": SCHEMA_VERSION, "entries": sum(totals.values())},
            result="done",
        )
    return digest


def canonical(value: Any) -> bytes:
    """Return a value as the one JSON text that its hash is made of: sorted, without spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _write(file: IO[bytes], order_id: UUID, head: dict[str, Any]) -> tuple[str, Counter[str]]:
    """Write the file entry by entry; its names are in the order of the canonical form."""
    hashed, totals = hashlib.sha256(), Counter[str]()

    def content(part: bytes) -> None:
        hashed.update(part)
        file.write(part)

    file.write(b'{"content":')
    content(b'{"entries":[')
    for number, entry in enumerate(whole_story(order_id)):
        content((b"," if number else b"") + canonical(_plain_entry(entry)))
        totals[entry.kind] += 1
    rest = canonical(_plain({**head, "totals": dict(totals)}))
    assert min(head) > "entries"  # noqa: S101 - or the order of names would not be the canonical one
    content(b"]," + rest[1:])
    digest = hashed.hexdigest()
    file.write(b',"sha256":"' + digest.encode() + b'"}\n')
    return digest, totals


def _head(order_id: UUID, operator: str, reason: str, now: datetime) -> dict[str, Any]:
    order = find_order(order_id=order_id)
    runs = SagaInstance.objects.filter(key=order_id).order_by("started_at")
    return {
        "generated_at": now,
        "generated_by": operator,
        "generated_for": reason,
        "order": None
        if order is None
        else {
            "id": order.pk,
            "customer_id": order.customer_id,
            "status": order.status,
            "reason": order.reason,
            "amount": order.amount,
            "currency": order.currency,
            "placed_at": order.placed_at,
            "updated_at": order.updated_at,
        },
        "order_id": order_id,
        "product": {"name": "saga-bridge", "version": _version()},
        "sagas": [{**describe(run), "data": redacted(run.data)} for run in runs],
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
    }


def _plain_entry(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = _plain(
        {
            "at": entry.at,
            "kind": entry.kind,
            "what": entry.what,
            "milliseconds": entry.milliseconds,
            "detail": redacted(entry.detail),
        }
    )
    return told


def _plain(value: Any) -> Any:
    """Return a value in what JSON knows, without card numbers in any text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, float):
        # Not every reader writes a float as we do, and the hash is of the text.
        return repr(value)
    if value is None or isinstance(value, bool | int):
        return value
    return _strike_out()(str(value))


@cache
def _strike_out() -> Callable[[str], str]:
    found: Callable[[str], str] = import_string(settings.OUTBOX_STRIKE_OUT)
    return found


@cache
def _version() -> str:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    return str(project["version"])
