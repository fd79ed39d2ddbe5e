"""The desk's view of messaging: what was said, what is still to be handed on, what went wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, F, QuerySet, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from outbox.consumers import CONSUMERS
from outbox.desk import ReadOnlyAdmin, as_json, badge, clock, link, order_url, short
from outbox.models import Attempt, Delivery, GatewayCall, Message

DECISIONS = {
    Attempt.Decision.RETRY: "info",
    Attempt.Decision.GIVEN_UP: "warning",
    Attempt.Decision.DEAD: "danger",
    Attempt.Decision.WITHDRAWN: "",
}


OUTCOMES = {"ok": "success", "not_found": "", "refused": "warning"}


def message_link(message_id: UUID, text: object = "") -> SafeString:
    """Return a link to a message's page."""
    return link(reverse("admin:outbox_message_change", args=[message_id]), text or message_id)


def story_link(ordering_key: UUID) -> SafeString:
    """Return a link to all that happened under a key."""
    return link(order_url(ordering_key), short(ordering_key))


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """The log: newest first; the messages of one order in the order in which they were said.

    It has no filters: without an id it is only ever read from its end.
    """

    id_fields = ("id", "ordering_key")
    search_help_text = "Order id or message id"
    list_display = ("said", "type", "kind_badge", "source", "order", "step")
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("type", "kind_badge"),
        ("id", "said"),
        ("order", "sequence"),
        ("source", "version"),
        ("correlation_id", "step"),
        ("cause",),
        ("content",),
    )

    def get_fields(self, request: HttpRequest, obj: Message | None = None) -> Sequence[Any]:
        """Offer to deliver an event again, to who may."""
        may_redeliver = obj is not None and obj.kind == "event" and request.user.has_perm("sagas.redeliver_message")
        return [*self.fields, ("again",)] if may_redeliver else self.fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        """Find the messages of an order, in its order."""
        found, has_duplicates = super().get_search_results(request, queryset, search_term)
        return (found.order_by("sequence") if search_term else found), has_duplicates

    @admin.display(description="at")
    def said(self, message: Message) -> str:
        """When it was published."""
        return clock(message.time)

    @admin.display(description="kind")
    def kind_badge(self, message: Message) -> SafeString:
        """Command or event."""
        return badge(message.kind, "info" if message.kind == "command" else "")

    @admin.display(description="order")
    def order(self, message: Message) -> SafeString:
        """The ordering key; leads to all that happened under it."""
        return story_link(message.ordering_key)

    @admin.display(description="step")
    def step(self, message: Message) -> str:
        """Which part of a saga it belongs to."""
        step = message.headers.get("step")
        return f"{step} ({message.headers['direction']})" if step else "-"

    @admin.display(description="caused by")
    def cause(self, message: Message) -> SafeString | str:
        """The message that led to this one."""
        return message_link(message.causation_id) if message.causation_id else "-"

    @admin.display(description="deliver again")
    def again(self, message: Message) -> SafeString:
        """Leads to the page that delivers it to a consumer again; by name, since that page lives above."""
        return link(reverse("desk:message-redeliver", args=[message.pk]), "Deliver it to a consumer again")

    @admin.display(description="payload")
    def content(self, message: Message) -> SafeString:
        """The payload without what it says about a person."""
        return as_json(message.payload)


class StateFilter(admin.SimpleListFilter):
    """Dead ones unless asked for others: they are what a person looks for here."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the states."""
        return [("dead", "Dead"), ("waiting", "Waiting"), ("claimed", "In flight"), ("all", "All")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Offer the states, without the extra "all" that would mean the default."""
        yield from list(super().choices(changelist))[1:]

    def value(self) -> str:
        """Return the chosen state."""
        return super().value() or "dead"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:  # noqa: ARG002
        """Restrict to it."""
        match self.value():
            case "dead":
                return queryset.filter(dead_at__isnull=False)
            case "waiting":
                return queryset.filter(dead_at__isnull=True, token__isnull=True)
            case "claimed":
                return queryset.filter(token__isnull=False)
            case _:
                return queryset


class DestinationFilter(admin.SimpleListFilter):
    """By consumer, named without a look at the hot table."""

    title = "destination"
    parameter_name = "destination"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the consumers."""
        return [(consumer.name, consumer.name) for consumer in CONSUMERS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:  # noqa: ARG002
        """Restrict to one."""
        return queryset.filter(destination=self.value()) if self.value() else queryset


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """The queue: what is still to be handed to one destination. What was delivered is gone from here."""

    id_fields = ("message_id", "ordering_key")
    search_help_text = "Order id or message id"
    list_display = ("state", "type", "destination", "order", "attempts", "error_class", "due", "since")
    list_filter = (StateFilter, DestinationFilter)
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("state", "due"),
        ("type", "kind"),
        ("destination", "lane"),
        ("message", "since"),
        ("order",),
        ("attempts", "dead"),
        ("error_class", "fingerprint"),
        ("error",),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Read the due time as nothing where it is infinity, which no Python time can hold."""
        due = Case(When(dead_at__isnull=True, then=F("available_at")))
        found: QuerySet[Delivery] = super().get_queryset(request).defer("available_at").annotate(due_at=due)
        return found

    @admin.display(description="state")
    def state(self, delivery: Any) -> SafeString:
        """Dead, in flight, resting before a retry, or waiting."""
        if delivery.dead_at:
            return badge("dead", "danger")
        if delivery.token:
            return badge("in flight", "info")
        return badge("resting", "warning") if delivery.due_at > timezone.now() else badge("waiting")

    @admin.display(description="due")
    def due(self, delivery: Any) -> str:
        """When the next attempt may begin."""
        return "never" if delivery.dead_at else clock(delivery.due_at)

    @admin.display(description="said")
    def since(self, delivery: Delivery) -> str:
        """When the message was published."""
        return clock(delivery.message_time)

    @admin.display(description="dead since")
    def dead(self, delivery: Delivery) -> str:
        """When its attempts were spent."""
        return clock(delivery.dead_at)

    @admin.display(description="message")
    def message(self, delivery: Delivery) -> SafeString:
        """The message; leads to its page."""
        return message_link(delivery.message_id)

    @admin.display(description="order")
    def order(self, delivery: Delivery) -> SafeString:
        """The ordering key; leads to all that happened under it."""
        return story_link(delivery.ordering_key)


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """The trail of failed tries."""

    id_fields = ("ordering_key",)
    search_help_text = "Order id"
    list_display = ("tried", "type", "destination", "attempt", "decided", "error_class", "order")
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("tried", "decided"),
        ("type", "destination"),
        ("attempt", "message"),
        ("ordering_key",),
        ("error_class", "fingerprint"),
        ("error",),
    )

    @admin.display(description="at")
    def tried(self, attempt: Attempt) -> str:
        """When it failed."""
        return clock(attempt.at)

    @admin.display(description="then")
    def decided(self, attempt: Attempt) -> SafeString:
        """What followed."""
        return badge(attempt.get_decision_display(), DECISIONS[Attempt.Decision(attempt.decision)])

    @admin.display(description="message")
    def message(self, attempt: Attempt) -> SafeString:
        """The message; leads to its page."""
        return message_link(attempt.message_id)

    @admin.display(description="order")
    def order(self, attempt: Attempt) -> SafeString:
        """The ordering key; leads to all that happened under it."""
        return story_link(attempt.ordering_key)


@admin.register(GatewayCall)
class GatewayCallAdmin(ReadOnlyAdmin):
    """What the outside world was asked and what it said, newest first; card and personal data were never kept."""

    id_fields = ("ordering_key",)
    search_help_text = "Order id"
    list_display = ("made", "call", "outcome_badge", "took", "attempt", "order")
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("made", "took"),
        ("call", "outcome_badge"),
        ("asked", "status"),
        ("order", "message"),
        ("attempt",),
        ("trace_id",),
        ("key",),
        ("error",),
        ("request",),
        ("answer",),
    )

    @admin.display(description="at")
    def made(self, call: GatewayCall) -> str:
        """When it began."""
        return clock(call.started_at)

    @admin.display(description="call")
    def call(self, call: GatewayCall) -> str:
        """Whom it asked for what."""
        return f"{call.gateway} {call.operation}"

    @admin.display(description="asked")
    def asked(self, call: GatewayCall) -> str:
        """The request's line."""
        return f"{call.method} {call.path}"

    @admin.display(description="outcome")
    def outcome_badge(self, call: GatewayCall) -> SafeString:
        """What came of it."""
        return badge(call.outcome.replace("_", " "), OUTCOMES.get(call.outcome, "danger"))

    @admin.display(description="took")
    def took(self, call: GatewayCall) -> str:
        """How long it took."""
        return f"{call.milliseconds}\N{NO-BREAK SPACE}ms"

    @admin.display(description="message")
    def message(self, call: GatewayCall) -> SafeString | str:
        """The message that was worked on, where only one was; leads to its page."""
        return message_link(call.message_id) if call.message_id else "-"

    @admin.display(description="order")
    def order(self, call: GatewayCall) -> SafeString:
        """The order; leads to all that happened to it."""
        return story_link(call.ordering_key)
