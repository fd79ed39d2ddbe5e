"""The network between programs, and how it misbehaves: `python -m simulator.proxy NAME=LISTEN:HOST:PORT …`.

Each link forwards one port to one address, for any protocol. Over HTTP it is told to delay, to cut, or to keep a
connection open without a sign of life. toxiproxy does the same and more, but it is a program in Go; this one runs
wherever the simulator does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.wire import Refusal, read_object, render, respond, respond_refusal

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
MAX_DELAY_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How a link behaves. Delays hold for each piece of data in each direction.

    `cut` resets what is open and whatever is opened. `silent` accepts, and swallows what is sent, in both directions:
    a half-open connection. `answers_lost` delivers what is asked and swallows the answers.
    """

    latency_ms: float = 0
    jitter_ms: float = 0
    cut: bool = False
    silent: bool = False
    answers_lost: bool = False


class Link:
    """One port that leads to one address."""

    def __init__(self, *, name: str, port: int, target: tuple[str, int], seed: int = 0) -> None:
        self.name = name
        self.port = port
        self._target = target
        self.weather = Weather()
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._open: dict[asyncio.StreamWriter, bool] = {}

    async def serve(self) -> asyncio.Server:
        """Begin to accept connections."""
        return await asyncio.start_server(self._accept, HOST, self.port)

    def change(self, weather: Weather) -> None:
        """Change the weather; connections that have lost data by the old one are reset, for they cannot be mended."""
        lossy = self.weather.silent or self.weather.answers_lost
        self.weather = weather
        self.reset(only_lossy=not weather.cut, was_lossy=lossy)

    def reset(self, *, only_lossy: bool = False, was_lossy: bool = False) -> None:
        """Reset what is open; with `only_lossy` only what has lost data."""
        if only_lossy and not was_lossy:
            return
        for writer, lossy in list(self._open.items()):
            if lossy or not only_lossy:
                _abort(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.cut:
            _abort(writer)
            return
        self._open[writer] = False
        try:
            if self.weather.silent:
                await self._swallow(reader, writer)
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _abort(writer)
            return
        finally:
            self._open.pop(writer, None)
        self._open[writer] = self._open[far_writer] = False
        pair = (writer, far_writer)
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, pair, is_answer=False),
                self._pump(far_reader, writer, pair, is_answer=True),
            )
        finally:
            for end in pair:
                self._open.pop(end, None)
                end.transport.abort()

    async def _swallow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = True
        with suppress(OSError):
            while await reader.read(CHUNK_BYTES):
                pass

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: Sequence[asyncio.StreamWriter],
        *,
        is_answer: bool,
    ) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                delay = self.weather.latency_ms + self._random.uniform(0, self.weather.jitter_ms)
                if delay:
                    await asyncio.sleep(delay / 1000)
                if self.weather.silent or (is_answer and self.weather.answers_lost):
                    for end in pair:
                        self._open[end] = True
                    continue
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
        except OSError:
            for end in pair:
                _abort(end)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: without a linger time the kernel sends RST, not the FIN of a program that is done."""
    end = writer.get_extra_info("socket")
    if end is not None and not writer.is_closing():
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Network:
    """All links, and their control: `GET /links`, `PUT /links/NAME`, `POST /links/NAME/reset`."""

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = {link.name: link for link in links}

    def build_app(self) -> Starlette:
        """Build the application that serves the links while it runs."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            servers = [await link.serve() for link in self._links.values()]
            yield
            for server in servers:
                server.close()
            for link in self._links.values():
                link.reset()

        return Starlette(
            routes=[
                Route("/links", self.show, methods=["GET"]),
                Route("/links/{name}", self.change, methods=["PUT"]),
                Route("/links/{name}/reset", self.reset, methods=["POST"]),
            ],
            exception_handlers={Refusal: _refused},
            lifespan=lifespan,
        )

    async def show(self, _request: Request) -> Response:
        """Answer with the weather of every link."""
        return respond(status=200, body=render({name: asdict(link.weather) for name, link in self._links.items()}))

    async def change(self, request: Request) -> Response:
        """Change the named settings of a link. Raises: Refusal 400 or 404; then none is changed."""
        link = self._link(request)
        changes = await read_object(request)
        for name, value in changes.items():
            _check(name, value)
        link.change(replace(link.weather, **changes))
        return await self.show(request)

    async def reset(self, request: Request) -> Response:
        """Reset every open connection of a link once."""
        self._link(request).reset()
        return await self.show(request)

    def _link(self, request: Request) -> Link:
        name = request.path_params["name"]
        if name not in self._links:
            raise Refusal(404, "unknown_link", f"no link is named {name!r}; known: {', '.join(self._links)}")
        return self._links[name]


def _check(name: str, value: Any) -> None:
    known = {field.name: field.type for field in fields(Weather)}
    if name not in known:
        raise Refusal(400, "unknown_field", f"unknown setting {name!r}; known: {', '.join(known)}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name.endswith("_ms"):
        valid, wanted = is_number and 0 <= value <= MAX_DELAY_MS, f"a number from 0 to {MAX_DELAY_MS}"
    else:
        valid, wanted = isinstance(value, bool), "true or false"
    if not valid:
        raise Refusal(400, "out_of_range", f"{name} must be {wanted}")


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - it is registered for nothing else
    return respond_refusal(error)


def _read_link(text: str) -> tuple[str, int, str, int]:
    name, _, rest = text.partition("=")
    try:
        listen, host, port = rest.split(":")
        return name, int(listen), host, int(port)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=LISTEN:HOST:PORT") from error


def main() -> None:
    """Serve until stopped. Exits with 2 if a port cannot be had."""
    parser = argparse.ArgumentParser(prog="simulator.proxy", description="A network that can be cut and slowed down.")
    parser.add_argument("--port", type=int, required=True, help="of the control")
    parser.add_argument("--seed", type=int, default=0, help="of the jitter")
    parser.add_argument("links", type=_read_link, nargs="+", metavar="NAME=LISTEN:HOST:PORT")
    options = parser.parse_args()
    links = [
        Link(name=name, port=listen, target=(host, port), seed=options.seed)
        for name, listen, host, port in options.links
    ]
    try:
        listener = socket.create_server((HOST, options.port))
    except (OSError, OverflowError) as error:
        parser.exit(2, f"simulator.proxy: cannot start on port {options.port}: {error}\n")
    config = uvicorn.Config(
        Network(links).build_app(),
        log_config=None,
        log_level="critical",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
