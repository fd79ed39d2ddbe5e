"""Checkout over HTTP: translation between the wire and one service call each."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders import selectors, services
from orders.api import docs
from orders.api.card_numbers import holds_issued_number
from orders.api.idempotent import answer_request, customer_of, keyed_request, rendered, response_of
from orders.api.problems import field_problem, problem_of
from orders.api.serializers import CheckoutSerializer, EmptySerializer, OrderSerializer, order_url
from orders.api.waiting import preferred_wait, wait_until_settled
from orders.contracts import Address, Line
from orders.models import Order
from outbox.consumers import DomainError
from outbox.idempotency import Answer, amend_answer

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@docs.ORDERS
class OrdersView(ListAPIView[Order]):
    """The customer's own orders, and the checkout."""

    serializer_class = OrderSerializer

    def get_queryset(self) -> QuerySet[Order]:
        """Return the customer's orders, of one status if asked."""
        orders = selectors.orders_of(customer_id=customer_of(request=self.request))
        status = self.request.query_params.get("status")
        if status is None:
            return orders
        if status not in Order.Status.values:
            raise field_problem(paths=[("status",)], code="unknown_status", detail="There is no such status.")
        return orders.filter(status=status)

    def post(self, request: Request) -> HttpResponse:
        """Place an order once for this key; 202 when accepted, 201 when it settled while the client waited.

        What is kept for the key is the acceptance, with the order. A client that waited and is given the end
        has it kept in its place, so that a repetition gets those bytes again. A repetition never waits.
        """
        keyed = keyed_request(request=request, endpoint="orders")
        placed: list[UUID] = []

        def checkout() -> Answer:
            order = _place(request)
            placed.append(order.id)
            return rendered(status=202, data=OrderSerializer(order).data, location=order_url(order_id=order.id))

        answer = answer_request(view=self, request=keyed, operation=checkout)
        wait = preferred_wait(header=request.headers.get("Prefer"))
        if not placed or not wait_until_settled(order_id=placed[0], seconds=wait):
            return response_of(answer=answer)
        settled = rendered(status=201, data=_own_order(request, placed[0]), location=answer.location)
        amend_answer(request=keyed, answer=settled)
        response = response_of(answer=settled)
        response["Preference-Applied"] = f"wait={wait}"
        return response


@docs.ORDER
class OrderView(APIView):
    """One order."""

    def get(self, request: Request, order_id: UUID) -> Response:
        """Return the order."""
        return Response(_own_order(request, order_id))


@docs.CANCEL
class CancelView(APIView):
    """Ask for an order to be undone."""

    def post(self, request: Request, order_id: UUID) -> HttpResponse:
        """Accept the wish; the order is CANCELLING until all that was done for it is undone."""

        def cancel() -> None:
            services.request_cancel(
                order_id=order_id,
                customer_id=customer_of(request=request),
                reason=services.CANCELLED_BY_CUSTOMER,
                traceparent=_traceparent(request),
            )

        return _change(self, request, order_id, name="cancel", service=cancel)


@docs.RETURNS
class ReturnsView(APIView):
    """Ask for an order to be taken back."""

    def post(self, request: Request, order_id: UUID) -> HttpResponse:
        """Accept the wish; the order is RETURNING until it is refunded and restocked."""

        def take_back() -> None:
            services.request_return(
                order_id=order_id, customer_id=customer_of(request=request), traceparent=_traceparent(request)
            )

        return _change(self, request, order_id, name="returns", service=take_back)


def _change(view: APIView, request: Request, order_id: UUID, *, name: str, service: Callable[[], None]) -> HttpResponse:
    """Call the service once for this key and answer with the order as it is then."""

    def change() -> Answer:
        EmptySerializer(data=request.data).is_valid(raise_exception=True)
        try:
            service()
        except DomainError as error:
            raise problem_of(error, order_url=order_url(order_id=order_id)) from error
        return rendered(status=202, data=_own_order(request, order_id))

    keyed = keyed_request(request=request, endpoint=f"orders/{{id}}/{name}")
    return response_of(answer=answer_request(view=view, request=keyed, operation=change))


def _place(request: Request) -> Order:
    checkout = CheckoutSerializer(data=request.data)
    checkout.is_valid(raise_exception=True)
    wanted = checkout.validated_data
    try:
        return services.place_order(
            customer_id=customer_of(request=request),
            items=[Line(**item) for item in wanted["items"]],
            payment_method=wanted["payment_method"],
            shipping_address=Address(**wanted["shipping_address"]),
            traceparent=_traceparent(request),
        )
    except services.DuplicateOrder as error:
        raise problem_of(error, order_url=order_url(order_id=error.first_order_id)) from error
    except DomainError as error:
        raise problem_of(error) from error


def _own_order(request: Request, order_id: UUID) -> object:
    order = selectors.order_of(order_id=order_id, customer_id=customer_of(request=request))
    if order is None:
        raise NotFound
    return OrderSerializer(order).data


def _traceparent(request: Request) -> str | None:
    """Return the trace of the request, which messages keep; one with a card number in it is dropped."""
    header = request.headers.get("traceparent", "")
    return header if _TRACEPARENT.fullmatch(header) and not holds_issued_number(header) else None
