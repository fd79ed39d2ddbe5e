"""Production starts with settings of its own, with nothing to warn of, and with no other."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
PRODUCTION = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": secrets.token_urlsafe(60),
    "ALLOWED_HOSTS": "shop.example",
    "DATABASE_URL": "postgresql://app:secret@database.invalid/shop",
    "REDIS_URL": "redis://cache.invalid",
    "BANK_URL": "https://bank.invalid",
    "CARRIER_URL": "https://carrier.invalid",
    "EMAIL_URL": "smtp://app:secret@mail.invalid:25",
    "BANK_WEBHOOK_SECRETS": secrets.token_hex(32),
}
REFUSED = {
    "no secret key": {"SECRET_KEY": ""},
    "a short secret key": {"SECRET_KEY": "short"},
    "the secret key of local runs": {"SECRET_KEY": "local-only-not-a-secret-" + "0" * 32},
    "no hosts": {"ALLOWED_HOSTS": ""},
    "embedded servers": {"SAGA_BRIDGE_EMBEDDED": "1"},
    "an instant bank": {"PAYMENT_GATEWAY": "instant"},
    "an instant carrier": {"CARRIER": "instant"},
    "crash points": {"CRASH_POINTS": "/nowhere"},
    "no webhook secret": {"BANK_WEBHOOK_SECRETS": ""},
    "a short webhook secret": {"BANK_WEBHOOK_SECRETS": f"{secrets.token_hex(32)},short"},
    "no database": {"DATABASE_URL": ""},
    "no broker": {"REDIS_URL": ""},
    "no mail server": {"EMAIL_URL": ""},
}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the product with the settings of production, changed as told."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "HOME")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=kept | PRODUCTION | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_deploy_check_is_clean() -> None:
    done = run("manage.py", "check", "--deploy", "--fail-level", "WARNING")

    assert (done.returncode, done.stdout + done.stderr) == (0, "System check identified no issues (0 silenced).\n")


@pytest.mark.parametrize("what", REFUSED)
def test_production_refuses(what: str) -> None:
    done = run("-c", "import config.settings", **REFUSED[what])

    assert done.returncode == 1
    assert "ImproperlyConfigured: " in done.stderr


def test_debug_cannot_be_switched_on() -> None:
    done = run("-c", "from config import settings; print(settings.DEBUG)", DEBUG="1", DJANGO_DEBUG="True")

    assert done.stdout == "False\n"


def test_an_audit_without_advisories_does_not_pass_for_one() -> None:
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")

    done = run("requirements/audit.py", **nowhere)

    assert done.stdout.startswith("NOT AUDITED: ")
    assert "No known vulnerabilities" not in done.stdout + done.stderr
