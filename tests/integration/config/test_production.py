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
    "DESK_OTP": "required",
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
    "codes that are neither asked for nor not": {"DESK_OTP": "sometimes"},
    "a login that may be tried for ever": {"LOGIN_FAILURES": "0"},
    "a lock-out of no time": {"LOGIN_LOCKOUT_MINUTES": "0"},
    "a session that never idles": {"SESSION_IDLE_MINUTES": "100000"},
    "a session without end": {"SESSION_HOURS": "9000"},
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


@pytest.mark.parametrize("setting", ["off", "optional"])
def test_a_desk_that_opens_on_a_password_alone_is_warned_of(setting: str) -> None:
    done = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", DESK_OTP=setting)

    assert done.returncode == 1
    assert "(saga_bridge.W001) DESK_OTP is not 'required'" in done.stderr
    assert "identified 1 issue" in done.stderr


def test_no_cookie_of_production_travels_in_the_clear() -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "SESSION_COOKIE_HTTPONLY")

    done = run("-c", f"from config import settings; print([getattr(settings, name) for name in {names}])")

    assert done.stdout == "[True, True, True, True]\n"


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
