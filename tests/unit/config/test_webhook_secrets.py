"""Production does not start without secrets for the bank's webhooks."""

import os
import subprocess
import sys

import pytest

PRODUCTION = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": "x" * 60,
    "ALLOWED_HOSTS": "shop.example",
    "DATABASE_URL": "postgresql://unused/unused",
    "REDIS_URL": "redis://unused",
    "EMAIL_URL": "smtp://user:password@mail.example:25",
}


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH")}
    program = "from config import settings; print(settings.WEBHOOK_SECRETS['simulated'])"
    return subprocess.run(
        [sys.executable, "-c", program], env=kept | PRODUCTION | environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("secrets", ["", "short", "a" * 40 + ",short"])
def test_production_refuses_no_or_short_secrets(secrets: str) -> None:
    refused = start(BANK_WEBHOOK_SECRETS=secrets)

    assert refused.returncode == 1
    assert "BANK_WEBHOOK_SECRETS" in refused.stderr.splitlines()[-1]


def test_production_takes_several_while_one_takes_over() -> None:
    taken = start(BANK_WEBHOOK_SECRETS="a" * 40 + "," + "b" * 40)

    assert taken.stdout.strip() == str(("a" * 40, "b" * 40)), taken.stderr
