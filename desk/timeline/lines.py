"""How one entry of an order's story looks on its page: what matters in a line, the rest folded away below it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from desk.tables import saga_link
from desk.timeline import coordination, traffic
from desk.timeline.entries import KINDS
from desk.timeline.shape import Entry
from outbox.admin import message_link
from outbox.desk import clock, link, short
from outbox.money import to_text
from outbox.redaction import redacted

# What is seen of an entry without opening it; of the contexts' own rows all that is a plain value.
_SEEN_AT_ONCE = {
    traffic.MESSAGE: ("step", "direction", "source", "caused_by"),
    traffic.CALL: ("status", "error", "attempt"),
    traffic.ATTEMPT: ("error_class", "error", "attempt"),
    traffic.DELIVERY: ("attempts", "blocked_by", "error_class", "error"),
    coordination.SAGA: ("error", "reason"),
    coordination.CASE: ("step", "direction", "error", "owner", "resolution", "reason", "reference", "case_id"),
    coordination.NOTE: ("case_id",),
    coordination.OPERATOR: ("reason", "reference", "approved_by", "result_now", "error", "case_id"),
    coordination.APPROVAL: ("reason", "reference", "amount", "decided_by", "expires_at"),
}
# Amounts, which are shown as money with their currency.
_MONEY = ("amount", "unit_price")


@dataclass(frozen=True, slots=True)
class Fact:
    """A value with its name."""

    name: str
    value: SafeString | str


@dataclass(frozen=True, slots=True)
class Fold:
    """Something long, which is shown when it is opened."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One entry as the page shows it. `offset` counts from the order's beginning, `gap` from the entry before."""

    at: str
    offset: str
    gap: str
    took: str
    kind: str
    icon: str
    kind_title: str
    what: str
    facts: list[Fact]
    folds: list[Fold]
    is_ahead: bool
    is_bad: bool


def lines_of(entries: Iterable[Entry], *, start: datetime) -> Iterator[Line]:
    """Return the lines of these entries, which are next to each other in the order of time, either way."""
    before: datetime | None = None
    now = timezone.now()
    for entry in entries:
        gap = "" if before is None else _span((entry.at - before).total_seconds())
        before = entry.at
        kind = KINDS[entry.kind]
        shown = _SEEN_AT_ONCE.get(entry.kind)
        yield Line(
            at=clock(entry.at),
            offset=_signed((entry.at - start).total_seconds()),
            gap=gap,
            took="" if entry.milliseconds is None else _span(entry.milliseconds / 1000),
            kind=entry.kind,
            icon=kind.icon,
            kind_title=kind.title,
            what=entry.what,
            facts=[*_facts(entry.detail, shown)],
            folds=[*_folds(entry, shown)],
            is_ahead=entry.at > now,
            is_bad=_is_bad(entry),
        )


def trace_link(trace_id: str) -> SafeString | str:
    """Return a link into the traces, or the bare id where `TRACE_URL` names no place for them."""
    if not trace_id:
        return ""
    if not settings.TRACE_URL:
        return f"trace {trace_id}"
    return link(settings.TRACE_URL.replace("{trace_id}", trace_id), f"trace {trace_id[:8]}…")


def _is_bad(entry: Entry) -> bool:
    """Tell whether an entry is one of those that somebody looks for who looks for what went wrong."""
    detail = entry.detail
    if entry.kind == traffic.CALL:
        return detail["outcome"] not in ("ok", "not_found")
    if entry.kind == traffic.DELIVERY:
        return detail["dead_at"] is not None
    if entry.kind == coordination.SAGA:
        return detail.get("status") in ("STUCK", "FAILED", "UNKNOWN")
    return entry.kind == traffic.ATTEMPT or (entry.kind == coordination.CASE and "due_at" in detail)


def _facts(detail: dict[str, Any], shown: tuple[str, ...] | None) -> Iterator[Fact]:
    for name in shown or detail:
        value = detail.get(name)
        if value in (None, "", [], {}) or isinstance(value, list | dict) or name == "currency":
            continue
        yield Fact(_words(name), _shown(name, value, detail))
    if shown and settings.TRACE_URL and detail.get("trace_id"):
        yield Fact("trace", trace_link(detail["trace_id"]))


def _folds(entry: Entry, shown: tuple[str, ...] | None) -> Iterator[Fold]:
    always = ("request", "answer") if entry.kind == traffic.CALL else ()
    long = {
        name: value
        for name, value in entry.detail.items()
        if value and (name in always or isinstance(value, list | dict))
    }
    for name, value in long.items():
        yield Fold(_words(name), _text(value, entry.detail))
    rest = {name: value for name, value in entry.detail.items() if name not in {*(shown or entry.detail), *long}}
    rest = {name: value for name, value in rest.items() if value not in (None, "")}
    if rest:
        yield Fold("all the rest", _text(rest, entry.detail))


def _shown(name: str, value: Any, detail: dict[str, Any]) -> SafeString | str:
    if isinstance(value, datetime):
        return clock(value)
    if name in _MONEY:
        currency = detail.get("currency", "")
        return f"{to_text(minor_units=value, currency=currency)} {currency}".strip()
    match name:
        case "message_id" | "caused_by":
            return message_link(value, short(value))
        case "case_id":
            return link(reverse("admin:sagas_case_change", args=[value]), f"Case {value}")
        case "saga_id":
            return saga_link(value)
        case "trace_id":
            return trace_link(value)
    return str(value)


def _text(value: Any, detail: dict[str, Any]) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(_readable(redacted(value), detail), indent=2, ensure_ascii=False, default=str)


def _readable(value: Any, detail: dict[str, Any]) -> Any:
    """Return a value with its amounts as money where the currency is known beside them."""
    if isinstance(value, list):
        return [_readable(item, detail) for item in value]
    if not isinstance(value, dict):
        return value
    currency = value.get("currency") or detail.get("currency")
    return {
        key: f"{to_text(minor_units=item, currency=str(currency))} {currency}"
        if key == "unit_price" and isinstance(item, int) and currency
        else _readable(item, detail)
        for key, item in value.items()
    }


def _words(name: str) -> str:
    return {"result_now": "result", "error_class": "error class", "key": "idempotency key"}.get(
        name, name.removesuffix("_id").replace("_", " ")
    )


def _signed(seconds: float) -> str:
    return f"{'−' if seconds < 0 else '+'}{_span(abs(seconds))}"


def _span(seconds: float) -> str:
    """Return a length of time, short enough for a column."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < 60:
        return f"{seconds:.2f} s"
    sign, minutes = ("−" if seconds < 0 else ""), int(abs(seconds) // 60)
    if minutes < 60:
        return f"{sign}{minutes} min {int(abs(seconds) % 60)} s"
    hours = minutes // 60
    return f"{sign}{hours} h {minutes % 60} min" if hours < 24 else f"{sign}{hours // 24} d {hours % 24} h"
