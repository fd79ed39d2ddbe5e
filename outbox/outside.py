"""A service of the outside world over HTTP: bounded in time, measured, and honest about what is known after a
failure.

One pool of connections per process: it is opened at the first call and, since connections must not be shared
with a parent, again after a fork.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
import msgspec

from outbox import breaker, calls, crash_points
from outbox.consumers import TransientError
from outbox.metrics import GATEWAY_REQUESTS, GATEWAY_SECONDS
from outbox.transactions import assert_no_transaction

AnswerType = TypeVar("AnswerType")

# What says for certain that nothing was done: too busy, or too many requests.
_NOTHING_DONE = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
# A probe has an answer or an error within so many time-outs: connecting, sending and reading have one each.
_PROBE_TIMEOUTS = 4
# A service may ask for patience, but not for more than this: it might be a mistake.
_MOST_RETRY_AFTER = 300.0
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
        about: str = "",
        body: Any = None,
        minds_breaker: bool = True,
    ) -> tuple[int, AnswerType]:
        """Make one request, named by an Idempotency-Key if there is one, and return status and answer.

        `about` is the key of an earlier request that this one asks about, or undoes; for the record (`outbox.calls`).

        While the service is away (see `outbox.breaker`) no request is made, but for a probe now and then. With
        `minds_breaker` False it is made all the same and says nothing about the service: for reports, which another
        part of it may give while what matters is away.

        Raises: NothingDone when it certainly had no effect, TransientError when it may have had one or may
        yet have it, UnforeseenAnswer when the answer cannot be read, InsideTransaction while a transaction is
        open. The first two say when to try again, and whether it is an outage.
        """
        assert_no_transaction()
        line = self._pass_breaker(operation) if minds_breaker else None
        outcome, fault = "unavailable", ""
        response: httpx.Response | None = None
        began = time.monotonic()
        with GATEWAY_SECONDS.labels(self.name, operation).time():
            try:
                headers = {} if key is None else {"Idempotency-Key": key}
                response = crash_points.call(
                    f"{self.name} {operation}",
                    lambda: self._open_client().request(method, path, json=body, headers=headers),
                    lost=lambda: httpx.ReadError("the answer is lost"),
                )
                outcome = _name_outcome(response.status_code)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                fault = f"the {self.name} cannot be reached: {error}"
                raise self._away(NothingDone, fault, line) from error
            except httpx.TimeoutException as error:
                outcome = "timeout"
                fault = f"no answer from the {self.name} within {self._timeout_seconds:g} s"
                raise self._away(TransientError, fault, line) from error
            except httpx.TransportError as error:
                fault = f"the connection to the {self.name} broke: {error}"
                raise self._away(TransientError, fault, line) from error
            finally:
                GATEWAY_REQUESTS.labels(self.name, operation, outcome).inc()
                calls.note(
                    gateway=self.name,
                    operation=operation,
                    method=method,
                    path=path,
                    key=key or about,
                    body=body,
                    status=response.status_code if response else None,
                    content=response.content if response else b"",
                    outcome=outcome,
                    error=fault,
                    began=began,
                )
        if outcome == "unavailable":
            kind = NothingDone if response.status_code in _NOTHING_DONE else TransientError
            text = f"the {self.name} answered {response.status_code}"
            raise self._away(kind, text, line, _retry_after(response))
        if line is not None:
            breaker.succeeded(gateway=self.name, was_probe=line.may_probe)
        return response.status_code, self._decode(response, answer_type)

    def _pass_breaker(self, operation: str) -> breaker.View:
        """Return what the breaker says, if it lets the call pass. Raises: NothingDone while the service is away."""
        view = breaker.ask(gateway=self.name, probe_seconds=_PROBE_TIMEOUTS * self._timeout_seconds)
        if view.refuses:
            GATEWAY_REQUESTS.labels(self.name, operation, "refused_by_breaker").inc()
            raise NothingDone(f"the {self.name} is away: not called", retry_after=view.rest(), is_outage=True)
        return view

    def _away(
        self, kind: type[TransientError], text: str, line: breaker.View | None, retry_after: float = 0.0
    ) -> TransientError:
        """Tell the breaker, if it let the call pass, that there was no answer; return the error to raise."""
        if line is not None:
            view = breaker.failed(gateway=self.name, was_probe=line.may_probe, retry_after=retry_after)
            if view.is_open:
                return kind(text, retry_after=view.rest(), is_outage=True)
        return kind(text, retry_after=retry_after)

    def _open_client(self) -> httpx.Client:
        process = os.getpid()
        with self._opening:
            if self._client is None or self._client[0] != process:
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS)
                client = httpx.Client(base_url=self._base_url, timeout=self._timeout_seconds, limits=limits)
                self._client = (process, client)
            return self._client[1]

    def _decode(self, response: httpx.Response, answer_type: type[AnswerType]) -> AnswerType:
        try:
            return _reader_of(answer_type)(response.content)
        except msgspec.MsgspecError as error:
            raise UnforeseenAnswer(
                f"the {self.name} answered {response.status_code} without a readable body"
            ) from error


def _reader_of(answer_type: type[AnswerType]) -> Callable[[bytes], AnswerType]:
    """Return what reads answers of a type, made by one thread only: msgspec crashes when two make it at once."""
    with _making_readers:
        if answer_type not in _readers:
            _readers[answer_type] = msgspec.json.Decoder(answer_type).decode
        return _readers[answer_type]


_readers: dict[Any, Callable[[bytes], Any]] = {}
_making_readers = threading.Lock()


def _name_outcome(status: int) -> str:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return "unavailable"
    if status == HTTPStatus.NOT_FOUND:
        return "not_found"
    return "refused" if status >= HTTPStatus.BAD_REQUEST else "ok"


def _retry_after(response: httpx.Response) -> float:
    """Return in how many seconds a service wants to be called again: 0 if it does not say, or not legibly."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _MOST_RETRY_AFTER)
    until = _date(text)
    # By its own clock, if it tells the time: ours may differ.
    now = _date(response.headers.get("Date", "")) or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), _MOST_RETRY_AFTER) if until else 0.0


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
