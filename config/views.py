"""The few pages that look over all rooms: liveness, readiness, metrics, and an order's whole story."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from redis import Redis, RedisError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api import PROBLEM_JSON
from orders.selectors import order_of
from sagas.selectors import timeline


class TimelineView(APIView):
    """Everything that happened to an order, in order of time."""

    @extend_schema(
        operation_id="orders_timeline",
        responses={
            200: OpenApiTypes.OBJECT,
            (404, PROBLEM_JSON): OpenApiResponse(
                {"$ref": "#/components/schemas/Problem"},
                description="`not-found`: there is no such order, or it is another customer's",
            ),
        },
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        """Answer with sagas, steps, messages, attempts and cases of one of the customer's own orders."""
        customer_id = request.user.pk
        if customer_id is None or order_of(order_id=order_id, customer_id=customer_id) is None:
            raise Http404
        return Response(timeline(order_id, is_for_customer=True))


def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django passes it
    """Answer that the process lives; asks nobody else."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """Answer whether an order can be taken: the database decides, the broker is only reported."""
    state: dict[str, Any] = {"database": _state(_ask_database), "broker": _state(_ask_broker)}
    ready = state["database"] == "ok"
    response = JsonResponse(state, status=200 if ready else 503)
    if not ready:
        response["Retry-After"] = "1"
    return response


def metrics(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """Answer with the metrics of all processes of this machine, in Prometheus' text format."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _state(ask: Any) -> str:
    try:
        ask()
    except (Error, RedisError) as error:
        return type(error).__name__
    return "ok"


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_broker() -> None:
    with Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
        client.ping()
