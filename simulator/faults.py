"""How bank and carrier misbehave on request.

A fault is decided by hashing the seed with the caller's key, never by a random number: the same keys meet the
same faults in every run and after every restart, and a retry of a key meets the same decision.
"""

import asyncio
import hashlib
import time
from collections import deque
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from simulator.ledger import Ledger, Outcome, write_time
from simulator.wire import Refusal, read_object, render, respond

MAX_HELD = 256
"""Calls kept waiting at once: a quarter of the usual 1,024 file descriptors of a process."""
MAX_CALLS = 100_000
"""Calls whose times are remembered."""
MAX_LATENCY_MS = 60_000
MAX_PAGE = 10_000
MAX_COPIES = 10
MAX_SEED = 2**53
_SWITCHES = {"down", "hold", "webhook_hold", "webhook_newest_first"}


class Lateness(Enum):
    """When the first call with a key is answered."""

    PROMPT = "at once"
    SILENT = "never, and nothing is done"
    AFTERWARDS = "only after the caller has given up, but it is done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The fault settings that bank and carrier share."""

    down: bool = False
    latency_ms: float = 0
    hold: bool = False
    timeout_ratio: float = 0
    seed: int = 0

    def strikes(self, *, ratio: float, fault: str, key: str) -> bool:
        """Decide whether a key is in the share that a fault takes; faults are independent of each other."""
        return self._draw(fault=fault, key=key) < ratio

    def choose_lateness(self, *, key: str, done_ratio: float) -> Lateness:
        """Decide how late a key's first answer is: `done_ratio` of them afterwards, `timeout_ratio` never."""
        draw = self._draw(fault="timeout", key=key)
        if draw < done_ratio:
            return Lateness.AFTERWARDS
        return Lateness.SILENT if draw < done_ratio + self.timeout_ratio else Lateness.PROMPT

    def _draw(self, *, fault: str, key: str) -> float:
        digest = hashlib.blake2b(f"{self.seed}:{fault}:{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


ControlType = TypeVar("ControlType", bound=Control)


class Faults(Generic[ControlType]):
    """One service's settings, and the three places where they bite: entrance, action, answer."""

    def __init__(self, *, service: str, initial: ControlType, ledger: Ledger, hold_seconds: float) -> None:
        self._service = service
        self._ledger = ledger
        self._hold_seconds = hold_seconds
        self._held = 0
        self._calls: deque[float] = deque(maxlen=MAX_CALLS)
        names = {field.name for field in fields(initial)}
        saved = ledger.read_control(service=service)
        self.control = replace(initial, **{name: saved[name] for name in saved.keys() & names})
        self._released = asyncio.Event()
        self._hold_or_release()

    def routes(self) -> list[Route]:
        """List the URLs that stay up and fast whatever happens: the ledger and the settings."""
        return [
            Route("/ledger", self.show_ledger, methods=["GET"]),
            Route("/control", self.show_control, methods=["GET"]),
            Route("/control", self.change_control, methods=["PUT"]),
            Route("/calls", self.show_calls, methods=["GET"]),
        ]

    async def enter(self) -> None:
        """Let a call in after the set latency. Raises: Refusal 503 while the service is down.

        What a call does, it does after the latency, even for a caller that gave up meanwhile; so the body
        must have been read before, since a closed connection yields none.
        """
        self._calls.append(time.time())
        if self.control.latency_ms:
            await asyncio.sleep(self.control.latency_ms / 1000)
        if self.control.down:
            raise Refusal(503, "unavailable", "the service is down", retry_after=1)

    async def wait_while_held(self) -> None:
        """Keep a call that would do something waiting until the hold is over; what it asked for is done then.

        Like a message that is stuck on its way: the caller has given up long before, and look-ups find nothing.
        """
        await self._released.wait()

    async def deliver(self, request: Request, *, outcome: Outcome, lateness: Lateness) -> Response:
        """Send the outcome of a keyed call as late as it should be; repetitions are always sent at once.

        Raises: Refusal 504 instead of silence once the hold is over, or at once when too many calls are held.
        """
        late = outcome.answer is None or (lateness is Lateness.AFTERWARDS and not outcome.replayed)
        if late and not await self._hold(request):
            raise Refusal(504, "timed_out", "too many calls are being kept waiting; the outcome is unknown")
        if outcome.answer is None:
            raise Refusal(504, "timed_out", "no answer in time; the outcome is unknown")
        headers = {"Idempotent-Replayed": "true"} if outcome.replayed else {}
        return respond(status=outcome.answer.status, body=outcome.answer.body, headers=headers)

    async def _hold(self, request: Request) -> bool:
        if self._held >= MAX_HELD:
            return False
        self._held += 1
        try:
            async with asyncio.timeout(self._hold_seconds):
                while (await request.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            pass
        finally:
            self._held -= 1
        return True

    async def show_calls(self, _request: Request) -> Response:
        """Answer with the times in Unix seconds at which calls came in since the start, those turned away too."""
        return respond(status=200, body=render({"calls": list(self._calls)}))

    async def show_control(self, _request: Request) -> Response:
        """Answer with all settings."""
        return respond(status=200, body=render(asdict(self.control)))

    async def change_control(self, request: Request) -> Response:
        """Change and save the named settings, answer with all. Raises: Refusal 400; then none is changed."""
        changes = await read_object(request)
        known = [field.name for field in fields(self.control)]
        for name, value in changes.items():
            if name not in known:
                raise Refusal(400, "unknown_field", f"unknown setting {name!r}; known: {', '.join(known)}")
            _check_setting(name, value)
        changed = replace(self.control, **changes)
        self._ledger.save_control(service=self._service, state=asdict(changed))
        self.control = changed
        self._hold_or_release()
        return await self.show_control(request)

    def _hold_or_release(self) -> None:
        if self.control.hold:
            self._released.clear()
        else:
            self._released.set()

    async def show_ledger(self, request: Request) -> Response:
        """Answer with the service's ledger, of all orders or of those named by `order_id`.

        With `since` or `limit`: the entries made at that time or later, oldest first, at most so many. Raises:
        Refusal 400.
        """
        order_ids = request.query_params.getlist("order_id")
        if not order_ids and request.query_params.keys() & {"since", "limit"}:
            since, limit = _read_page(request)
            return respond(status=200, body=self._ledger.list_entries(service=self._service, since=since, limit=limit))
        entries = self._ledger.stream_entries(service=self._service, order_ids=order_ids)
        return StreamingResponse(entries, media_type="application/json")


def _read_page(request: Request) -> tuple[str | None, int]:
    since, limit = request.query_params.get("since"), request.query_params.get("limit", str(MAX_PAGE))
    if not limit.isdecimal() or not 0 < int(limit) <= MAX_PAGE:
        raise Refusal(400, "out_of_range", f"limit must be a whole number from 1 to {MAX_PAGE}")
    try:
        moment = None if since is None else datetime.fromisoformat(since)
    except ValueError as exc:
        raise Refusal(400, "bad_field", "since must be a time in ISO 8601") from exc
    if moment is not None and moment.tzinfo is None:
        raise Refusal(400, "bad_field", "since must name its offset from UTC")
    return (None if moment is None else write_time(moment)), int(limit)


def _check_setting(name: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _SWITCHES:
        valid, wanted = isinstance(value, bool), "true or false"
    elif name == "seed":
        valid, wanted = type(value) is int and abs(value) <= MAX_SEED, f"a whole number up to {MAX_SEED}"
    elif name == "webhook_copies":
        valid, wanted = type(value) is int and 1 <= value <= MAX_COPIES, f"a whole number from 1 to {MAX_COPIES}"
    elif name in ("latency_ms", "webhook_delay_ms"):
        valid, wanted = number and 0 <= value <= MAX_LATENCY_MS, f"a number from 0 to {MAX_LATENCY_MS}"
    else:
        valid, wanted = number and 0 <= value <= 1, "a number from 0 to 1"
    if not valid:
        raise Refusal(400, "out_of_range", f"{name} must be {wanted}")
