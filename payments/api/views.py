"""The address that gateways send their webhooks to."""

from __future__ import annotations

from datetime import UTC, datetime

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from payments import webhooks

SIGNATURE_HEADER = "Webhook-Signature"

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_PROBLEMS = {
    400: "`invalid-body`: signed, and not an event",
    401: "`invalid-signature`: not signed with a secret of ours, or not within five minutes",
    404: "`not-found`: no gateway of this name sends webhooks",
    411: "`length-required`",
    413: "`body-too-large`",
}


class InvalidSignature(exceptions.APIException):
    """A webhook that its gateway has not signed, as a problem."""

    status_code = status.HTTP_401_UNAUTHORIZED
    default_code = "invalid-signature"


class PaymentWebhookView(APIView):
    """Store what a gateway tells; the same event again is fine. The gateway itself is known by its signature."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()

    @extend_schema(
        operation_id="receive_payment_webhook",
        auth=[],
        parameters=[
            OpenApiParameter(
                name=SIGNATURE_HEADER,
                location=OpenApiParameter.HEADER,
                type=OpenApiTypes.STR,
                required=True,
                description="`t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.BODY`; several `v1` while a secret rotates.",
            )
        ],
        request=OpenApiTypes.OBJECT,
        responses={
            200: OpenApiResponse({"type": "object", "properties": {"received": {"type": "boolean"}}}),
            **{
                (code, "application/problem+json"): OpenApiResponse(_PROBLEM, description=text)
                for code, text in _PROBLEMS.items()
            },
        },
    )
    def post(self, request: Request, gateway: str) -> Response:
        """Check, store, and answer; all that follows from it happens afterwards."""
        try:
            webhooks.receive(
                gateway=gateway,
                body=request.body,
                signature=request.headers.get(SIGNATURE_HEADER, ""),
                now=datetime.now(UTC),
            )
        except webhooks.UnknownGateway as error:
            raise exceptions.NotFound from error
        except webhooks.BadSignature as error:
            raise InvalidSignature(str(error)) from error
        except webhooks.BadEvent as error:
            raise exceptions.ParseError(str(error)) from error
        return Response({"received": True})
