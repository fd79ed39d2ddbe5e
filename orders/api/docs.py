"""What the OpenAPI document says of the views of orders beyond what their code tells.

The schema `Problem` and the answers that every call can get (401, 429, 503) are added for the whole API by
`config.api_schema`.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view

from orders.api.serializers import CheckoutSerializer, EmptySerializer, OrderSerializer
from orders.models import Order

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_KEY = OpenApiParameter(
    name="Idempotency-Key",
    location=OpenApiParameter.HEADER,
    type={"type": "string", "pattern": r"^[A-Za-z0-9!#$%&'*+\-.^_`|~:/=@]{1,255}$"},
    required=True,
    description=(
        "The client's token for one intent, bare (as the pattern says) or as a quoted string of at most "
        "255 characters. The same request with the same key gets the same answer, with `Idempotency-Replayed: true`."
    ),
)
_PREFER = OpenApiParameter(
    name="Prefer",
    location=OpenApiParameter.HEADER,
    type=OpenApiTypes.STR,
    description="`wait=N` holds the answer back for at most N (and 30) seconds until the order has settled.",
)
_TRACEPARENT = OpenApiParameter(
    name="traceparent",
    location=OpenApiParameter.HEADER,
    type=OpenApiTypes.STR,
    description="W3C trace context; every message of the order carries it.",
)
_STATUS = OpenApiParameter(
    name="status", type=OpenApiTypes.STR, enum=Order.Status.values, description="Only orders of this status."
)
_LOCATION = OpenApiParameter(
    name="Location",
    location=OpenApiParameter.HEADER,
    type=OpenApiTypes.STR,
    response=[201, 202],
    description="The address of the order.",
)
_REPLAYED = OpenApiParameter(
    name="Idempotency-Replayed",
    location=OpenApiParameter.HEADER,
    type=OpenApiTypes.STR,
    response=[201, 202],
    description="`true` when this is the kept answer of an earlier request.",
)


class StrictBody(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Say of each strict body that it takes no other fields."""

    target_class = "orders.api.serializers.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        """Return the schema of the body."""
        # The documented way to extend a schema, though its name is private and it has no types.
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return {**schema, "additionalProperties": False}


def _problems(**codes: str) -> dict[tuple[int, str], OpenApiResponse]:
    return {
        (int(name.removeprefix("on_")), "application/problem+json"): OpenApiResponse(_PROBLEM, description=description)
        for name, description in codes.items()
    }


_NOT_FOUND = "`not-found`: there is no such order, or it is another customer's"
_BAD_REQUEST = "`invalid-body`, `idempotency-key-missing`, `idempotency-key-invalid`"
_UNPROCESSABLE = "`validation-failed` with `errors`, `idempotency-key-reused`"
_KEY_CONFLICTS = "`idempotency-key-in-flight` (with Retry-After), `idempotency-key-expired`"

ORDERS = extend_schema_view(
    get=extend_schema(
        operation_id="list_orders",
        parameters=[_STATUS],
        responses={
            200: OrderSerializer(many=True),
            **_problems(on_422="`validation-failed`: no such status, a foreign cursor"),
        },
    ),
    post=extend_schema(
        operation_id="place_order",
        request=CheckoutSerializer,
        parameters=[_KEY, _PREFER, _TRACEPARENT, _LOCATION, _REPLAYED],
        responses={
            202: OpenApiResponse(OrderSerializer, description="Accepted; the order is PENDING"),
            201: OpenApiResponse(OrderSerializer, description="Settled while the client waited"),
            **_problems(
                on_400=_BAD_REQUEST,
                on_409=f"`duplicate-order` (names the first one), {_KEY_CONFLICTS}",
                on_413="`body-too-large`",
                on_415="`unsupported-media-type`",
                on_422=_UNPROCESSABLE,
            ),
        },
    ),
)
ORDER = extend_schema_view(
    get=extend_schema(operation_id="read_order", responses={200: OrderSerializer, **_problems(on_404=_NOT_FOUND)})
)
CANCEL = extend_schema_view(
    post=extend_schema(
        operation_id="cancel_order",
        request=EmptySerializer,
        parameters=[_KEY, _TRACEPARENT, _REPLAYED],
        responses={
            202: OpenApiResponse(OrderSerializer, description="Accepted; the order is CANCELLING"),
            **_problems(
                on_400=_BAD_REQUEST,
                on_404=_NOT_FOUND,
                on_409=f"`not-cancellable` (past the point of no return), {_KEY_CONFLICTS}",
                on_422=_UNPROCESSABLE,
            ),
        },
    )
)
RETURNS = extend_schema_view(
    post=extend_schema(
        operation_id="return_order",
        request=EmptySerializer,
        parameters=[_KEY, _TRACEPARENT, _REPLAYED],
        responses={
            202: OpenApiResponse(OrderSerializer, description="Accepted; the order is RETURNING"),
            **_problems(
                on_400=_BAD_REQUEST,
                on_404=_NOT_FOUND,
                on_409=f"`not-returnable` (not confirmed), {_KEY_CONFLICTS}",
                on_422=_UNPROCESSABLE,
            ),
        },
    )
)
