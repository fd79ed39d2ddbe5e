"""A network between the product and all that it talks to, which can be slowed, cut and silenced: for experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from config.local.ports import free_port

# Which setting leads over which link.
LINKS = {"bank": "BANK_URL", "carrier": "CARRIER_URL", "database": "DATABASE_URL", "broker": "REDIS_URL"}


@dataclass(frozen=True, kw_only=True)
class Network:
    """How to start it, where it is controlled, and the environment of those who live behind it."""

    command: tuple[str, ...]
    control_url: str
    environment: Mapping[str, str]


def put_network(environment: Mapping[str, str], *, seed: int = 0) -> Network:
    """Plan a network in front of the servers that an environment names.

    The control answers at `control_url`: see `simulator.proxy`. Each link has the name that `LINKS` gives it.
    """
    control = free_port()
    links: list[str] = []
    behind = dict(environment)
    for name, setting in LINKS.items():
        target = urlsplit(environment[setting])
        listen = free_port()
        links.append(f"{name}={listen}:{target.hostname}:{target.port}")
        credentials, _, _ = target.netloc.rpartition("@")
        place = f"{credentials}@127.0.0.1:{listen}" if credentials else f"127.0.0.1:{listen}"
        behind[setting] = urlunsplit(target._replace(netloc=place))
    return Network(
        command=("-m", "simulator.proxy", f"--port={control}", f"--seed={seed}", *links),
        control_url=f"http://127.0.0.1:{control}",
        environment=behind,
    )
