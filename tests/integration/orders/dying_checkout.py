"""A process that checks out and kills itself just before, or just after, its commit. Run by a test."""

import os
import signal
import sys

import django


def main(moment: str, token: str, key: str, body: str) -> None:
    """Send the checkout and die at the moment."""
    django.setup()
    from django.db import transaction
    from django.test import Client

    from orders import services

    publish = vars(services)["publish"]

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def publish_and_die(*arguments: object) -> None:
        publish(*arguments)
        if moment == "before":
            die()
        transaction.on_commit(die)

    vars(services)["publish"] = publish_and_die
    Client().post(
        "/api/v1/orders",
        body,
        content_type="application/json",
        headers={"Authorization": f"Token {token}", "Idempotency-Key": key},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
