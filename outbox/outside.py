"""A service of the outside world over HTTP: bounded in time, measured, and honest about what is known after a
failure.

One pool of connections per process: it is opened at the first call and, since connections must not be shared
with a parent, again after a fork.
"""

from __future__ import annotations

import os
import threading
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
import msgspec

from outbox.consumers import TransientError
from outbox.metrics import GATEWAY_REQUESTS, GATEWAY_SECONDS
from outbox.transactions import assert_no_transaction

AnswerType = TypeVar("AnswerType")

# Enough for every thread of a worker to keep its connection open between two calls.
_IDLE_CONNECTIONS = 64


class NothingDone(TransientError):
    """The request never reached the service, or the service said that it did nothing: this is certain."""


class UnforeseenAnswer(Exception):
    """The service answered something that its protocol does not foresee: a bug on one of the two sides."""


class HttpService:
    """Calls one service. Safe to share between threads."""

    def __init__(self, *, name: str, base_url: str, timeout_seconds: float) -> None:
        self.name = name
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._client: tuple[int, httpx.Client] | None = None
        # Making a client costs tens of milliseconds; all threads of a fresh worker ask for it at once.
        self._opening = threading.Lock()

    def call(
        self,
        *,
        operation: str,
        method: str,
        path: str,
        answer_type: type[AnswerType],
        key: str | None = None,
        body: Any = None,
    ) -> tuple[int, AnswerType]:
        """Make one request, named by an Idempotency-Key if there is one, and return status and answer.

        Raises: NothingDone when it certainly had no effect, TransientError when it may have had one or may
        yet have it, UnforeseenAnswer when the answer cannot be read, InsideTransaction while a transaction is
        open.
        """
        assert_no_transaction()
        outcome = "unavailable"
        with GATEWAY_SECONDS.labels(self.name, operation).time():
            try:
                headers = {} if key is None else {"Idempotency-Key": key}
                response = self._open_client().request(method, path, json=body, headers=headers)
                outcome = _name_outcome(response.status_code)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise NothingDone(f"the {self.name} cannot be reached: {error}") from error
            except httpx.TimeoutException as error:
                outcome = "timeout"
                raise TransientError(f"no answer from the {self.name} within {self._timeout_seconds:g} s") from error
            except httpx.TransportError as error:
                raise TransientError(f"the connection to the {self.name} broke: {error}") from error
            finally:
                GATEWAY_REQUESTS.labels(self.name, operation, outcome).inc()
        if outcome == "unavailable":
            raise self._unavailable(response.status_code)
        return response.status_code, self._decode(response, answer_type)

    def _open_client(self) -> httpx.Client:
        process = os.getpid()
        with self._opening:
            if self._client is None or self._client[0] != process:
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS)
                client = httpx.Client(base_url=self._base_url, timeout=self._timeout_seconds, limits=limits)
                self._client = (process, client)
            return self._client[1]

    def _unavailable(self, status: int) -> TransientError:
        is_known = status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
        return (NothingDone if is_known else TransientError)(f"the {self.name} answered {status}")

    def _decode(self, response: httpx.Response, answer_type: type[AnswerType]) -> AnswerType:
        try:
            return msgspec.json.decode(response.content, type=answer_type)
        except msgspec.MsgspecError as error:
            raise UnforeseenAnswer(
                f"the {self.name} answered {response.status_code} without a readable body"
            ) from error


def _name_outcome(status: int) -> str:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return "unavailable"
    if status == HTTPStatus.NOT_FOUND:
        return "not_found"
    return "refused" if status >= HTTPStatus.BAD_REQUEST else "ok"
