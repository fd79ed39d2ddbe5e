"""Settings, all from the environment; a wrong value stops the start with one clear line.

Every name is listed in docs/reference/settings.md. With no DATABASE_URL or REDIS_URL the launchers (`manage.py`,
`make up`, `make demo`, the tests) start embedded servers and put their addresses into the environment first.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured

from config import unfold
from config.environment import amounts as _amounts
from config.environment import choice as _choice
from config.environment import env
from config.environment import number as _number
from config.environment import url as _url
from config.redaction import RedactingFormatter, hide_rows

BASE_DIR = Path(__file__).resolve().parent.parent

LOCAL_SECRET_KEY = "local-only-not-a-secret-" + "0" * 32

ENVIRONMENT = _choice("ENVIRONMENT", ("local", "production"), "local")
PRODUCTION = ENVIRONMENT == "production"
DEBUG = False

SECRET_KEY = env.str("SECRET_KEY", LOCAL_SECRET_KEY)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", "testserver"])

REDIS_URL = _url("REDIS_URL", ("redis", "rediss"))
CELERY_BROKER_URL = _url("CELERY_BROKER_URL", ("redis", "rediss"), REDIS_URL)

if PRODUCTION:
    if SECRET_KEY == LOCAL_SECRET_KEY or len(SECRET_KEY) < 50:
        raise ImproperlyConfigured("SECRET_KEY must be your own and at least 50 characters long in production")
    if not env.list("ALLOWED_HOSTS", default=[]):
        raise ImproperlyConfigured("ALLOWED_HOSTS must name your hosts in production")
    if env.bool("SAGA_BRIDGE_EMBEDDED", default=False):
        raise ImproperlyConfigured("production does not run on the embedded servers: set DATABASE_URL and REDIS_URL")
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# How long one statement may take, one lock may be waited for, and a transaction may lie idle, in seconds and by role; 0
# is for ever. A customer is not kept waiting; a relay's batch is bounded, and others wait behind its locks; sweeps
# audit and prune whole tables. Commands are run by a person, who can stop them: a migration takes what it takes.
_LIMITS_OF_ROLES = {
    "web": (5, 3, 10),
    "beat": (5, 3, 10),
    "relay": (30, 10, 30),
    "effects": (30, 10, 30),
    "compensations": (30, 10, 30),
    "sweeps": (300, 10, 60),
}
ROLE = env.str("ROLE", "saga-bridge")
_statement, _lock, _idle = _LIMITS_OF_ROLES.get(ROLE, (0, 0, 0))
DATABASE_STATEMENT_SECONDS = _number("DATABASE_STATEMENT_SECONDS", _statement, least=0, most=86_400)
DATABASE_LOCK_SECONDS = _number("DATABASE_LOCK_SECONDS", _lock, least=0, most=86_400)
DATABASE_IDLE_SECONDS = _number("DATABASE_IDLE_SECONDS", _idle, least=0, most=86_400)
DATABASE_CONNECT_SECONDS = int(_number("DATABASE_CONNECT_SECONDS", 3, least=2, most=300))
# The server ends a statement in time; when not even that is heard, the connection counts as lost so much later.
DATABASE_SILENCE_SECONDS = _number("DATABASE_SILENCE_SECONDS", 2, least=0.1, most=300)

_database: dict[str, Any] = env.db_url_config(_url("DATABASE_URL", ("postgres", "postgresql")))
_database["ENGINE"] = "outbox.postgres"
# One connection per thread, kept: a pool would make threads of a web process wait for each other, and an order needs
# one in nearly all of its time. So the sum is threads and processes, which docs/reference/processes.md adds up.
_database["CONN_MAX_AGE"] = 600
_database["CONN_HEALTH_CHECKS"] = True
_timeouts = {
    "statement_timeout": DATABASE_STATEMENT_SECONDS,
    "lock_timeout": DATABASE_LOCK_SECONDS,
    "idle_in_transaction_session_timeout": DATABASE_IDLE_SECONDS,
}
# Arrays go over the wire in their binary form and hot statements are prepared: a fifth of the relay's time.
_database["OPTIONS"] = {
    "server_side_binding": True,
    "prepare_threshold": 3,
    "application_name": ROLE,
    "connect_timeout": DATABASE_CONNECT_SECONDS,
    "options": " ".join(f"-c {name}={int(1000 * seconds)}" for name, seconds in _timeouts.items() if seconds),
    "patience": DATABASE_STATEMENT_SECONDS + DATABASE_SILENCE_SECONDS if DATABASE_STATEMENT_SECONDS else 0,
    # A machine that is gone answers nothing: noticed within 5 + 3 x 2 s when idle, 10 s with something sent.
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    **_database.get("OPTIONS", {}),
}
DATABASES = {"default": _database}
# Tests of crashes only: each commit and each call of the outside world may be the last (outbox.crash_points).
if env.str("CRASH_POINTS", ""):
    if PRODUCTION:
        raise ImproperlyConfigured("CRASH_POINTS is for tests: production does not crash on purpose")
    _database["ENGINE"] = "outbox.crashing"

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "csp",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "config",
    "desk",
    "outbox",
    # In this order a relay serves them: the saga first, for everybody waits for its decisions, onlookers last.
    "sagas",
    "orders",
    "inventory",
    "payments",
    "shipping",
    "notifications",
    "analytics",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.headers.HeadersMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.api.ProblemMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.sessions.SessionLimitsMiddleware",
    "config.second_factor.gate.SecondFactorMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
UNFOLD = unfold.UNFOLD
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
# Served straight from the packages: nothing has to be collected before the first start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = not PRODUCTION

# --- Doors of the desk -------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# Five: a person who has mistyped has the sixth from memory. A quarter of an hour: at 20 guesses an hour no password
# that the validators let pass is found, and who is locked out by his own typing is back before anybody is fetched.
AXES_FAILURE_LIMIT = int(_number("LOGIN_FAILURES", 5, least=1, most=100))
AXES_COOLOFF_TIME = timedelta(minutes=_number("LOGIN_LOCKOUT_MINUTES", 15, least=1, most=1_440))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "config.lockout.address_of"
AXES_LOCKOUT_CALLABLE = "config.lockout.refuse"
AXES_RESET_ON_SUCCESS = True
# Else whoever keeps trying keeps a person out for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_FORM_FIELD = "username"
# Passwords are typed into the wrong field, so no log line repeats what was given for a name.
AXES_SENSITIVE_PARAMETERS = ["username"]
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# A desk that nobody has touched for half an hour was left open. Ten hours are a shift: the next one signs in by itself.
SESSION_IDLE_SECONDS = 60 * _number("SESSION_IDLE_MINUTES", 30, least=1, most=1_440)
SESSION_COOKIE_AGE = int(3_600 * _number("SESSION_HOURS", 10, least=0.1, most=168))

# One-time codes beside the password. Optional suits a laptop; whoever moves money asks for them (saga_bridge.W001).
DESK_OTP = _choice("DESK_OTP", ("off", "optional", "required"), "optional")
OTP_TOTP_ISSUER = "saga-bridge"

CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

# --- API ---------------------------------------------------------------------------------------------------------
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["config.api.Tokens"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.api.JSONBody"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "config.api.CursorPages",
    "DEFAULT_THROTTLE_CLASSES": ["config.api.CustomerThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "customer": env.str("THROTTLE_CUSTOMER", "6000/min"),
        "address": env.str("THROTTLE_ADDRESS", "12000/min"),
    },
    "EXCEPTION_HANDLER": "config.api.problem_handler",
    "NUM_PROXIES": env.int("TRUSTED_PROXIES", 0),
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "saga-bridge",
    "DESCRIPTION": "Checkout whose steps span services, and which never ends half done.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.api_schema.document_problems",
    ],
}
IDEMPOTENCY_KEY_TTL = int(_number("IDEMPOTENCY_KEY_TTL", 86_400, least=60, most=31_536_000))

# --- Celery: a broker message is a doorbell, so it may be lost, doubled or late ----------------------------------
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = None
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # A ring that cannot be sent is forgotten at once: a checkout must not wait for the broker.
    "socket_timeout": 5,
    "socket_connect_timeout": 1,
    "retry_on_timeout": False,
    "max_retries": 1,
    "interval_start": 0,
}
CELERY_TASK_PUBLISH_RETRY = False
# A relay at work needs no broker, and nobody runs what it does a second time: it may end what it has begun.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = "sweeps"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 1

# --- Outbox and sagas --------------------------------------------------------------------------------------------
OUTBOX_ROUTING = "config.routing.ROUTING"
# What takes card numbers out of a text, for whatever is kept of a call to the outside world.
OUTBOX_STRIKE_OUT = "orders.api.card_numbers.strike_out"
# One claim takes at most this many messages: past 500 a batch gains little and holds its locks longer.
RELAY_BATCH = int(_number("RELAY_BATCH", 500, least=1, most=5_000))
# A claimed message that nobody settles returns after this many seconds; the holder renews it while it works.
RELAY_LEASE_SECONDS = _number("RELAY_LEASE_SECONDS", 8, least=1, most=600)
EFFECTS_CONCURRENCY = int(_number("EFFECTS_CONCURRENCY", 32, least=1, most=500))
COMPENSATIONS_PER_SECOND = int(_number("COMPENSATIONS_PER_SECOND", 200, least=1, most=100_000))
# Calls of each gateway, over all workers; 0 is no limit.
GATEWAY_CALLS_PER_SECOND = int(_number("GATEWAY_CALLS_PER_SECOND", 0, least=0, most=100_000))
if 0 < GATEWAY_CALLS_PER_SECOND < 10:
    raise ImproperlyConfigured("GATEWAY_CALLS_PER_SECOND must be 0, for no limit, or at least 10")
# How often a gateway that is away is asked whether it is back: often enough that nobody notices, seldom enough that
# one call cannot hurt it.
BREAKER_PROBE_SECONDS = _number("BREAKER_PROBE_SECONDS", 2, least=0.1, most=300)
# So long a deadline waits for the end of an outage; then it counts, and a person sees what hangs.
OUTAGE_PATIENCE_SECONDS = _number("OUTAGE_PATIENCE_SECONDS", 3_600, least=0, most=604_800)
MESSAGE_RETENTION_DAYS = int(_number("MESSAGE_RETENTION_DAYS", 90, least=1, most=3_650))
# A retry of the same message later than this finds its inbox row gone: keep it longer than any manual redrive.
INBOX_RETENTION_DAYS = int(_number("INBOX_RETENTION_DAYS", 90, least=1, most=3_650))
# From more than this on (in minor units, by currency; "" is any other one) what an operator does needs a second person.
FOUR_EYES_AMOUNT = _amounts(env.list("FOUR_EYES_AMOUNT", default=["100000"]))
FOUR_EYES_EXPIRES_HOURS = _number("FOUR_EYES_EXPIRES_HOURS", 24, least=0.01, most=720)
CASE_DUE_HOURS = _number("CASE_DUE_HOURS", 4, least=0.01, most=720)
# Where the runbooks of failure groups are read, as files NAME.md below it; without it the desk shows its own.
RUNBOOKS_URL = _url("RUNBOOKS_URL", ("https", "http")) if env.str("RUNBOOKS_URL", "") else ""
# Where a trace is looked at: an address with {trace_id} in it. Without one the desk shows trace ids as text.
TRACE_URL = _url("TRACE_URL", ("https", "http")) if env.str("TRACE_URL", "") else ""
if TRACE_URL and "{trace_id}" not in TRACE_URL:
    raise ImproperlyConfigured("TRACE_URL must say with {trace_id} where the id of a trace goes")
ORDER_FLOW = _choice("ORDER_FLOW", ("orchestrated",), "orchestrated")
SAGA_DEFINITIONS = env.list("SAGA_DEFINITIONS", default=["sagas.definitions"])

# --- The outside world -------------------------------------------------------------------------------------------
PAYMENT_GATEWAY = _choice("PAYMENT_GATEWAY", ("simulated", "instant"), "simulated")
CARRIER = _choice("CARRIER", ("simulated", "instant"), "simulated")
BANK_URL = _url("BANK_URL", ("http", "https"), "http://127.0.0.1:9100/bank")
CARRIER_URL = _url("CARRIER_URL", ("http", "https"), "http://127.0.0.1:9100/carrier")
GATEWAY_TIMEOUT_SECONDS = _number("GATEWAY_TIMEOUT_SECONDS", 2, least=0.05, most=120)
if PRODUCTION and "instant" in (PAYMENT_GATEWAY, CARRIER):
    raise ImproperlyConfigured("PAYMENT_GATEWAY and CARRIER must be real ones in production, not 'instant'")
# By gateway; several while one secret takes over from another. Without any, every webhook is refused.
WEBHOOK_SECRETS = {"simulated": tuple(env.list("BANK_WEBHOOK_SECRETS", default=[]))}
if PRODUCTION and (not WEBHOOK_SECRETS["simulated"] or min(map(len, WEBHOOK_SECRETS["simulated"])) < 32):
    raise ImproperlyConfigured("BANK_WEBHOOK_SECRETS must name secrets of at least 32 characters in production")
# An entry of a ledger that nothing explains counts as a mismatch after this long.
RECONCILIATION_TOLERANCE_SECONDS = _number("RECONCILIATION_TOLERANCE_SECONDS", 300, least=0, most=86_400)

EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
if env.str("EMAIL_URL", ""):
    vars().update(env.email_url("EMAIL_URL"))
elif env.str("MAIL_FOLDER", ""):
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = env.str("MAIL_FOLDER")
elif PRODUCTION:
    raise ImproperlyConfigured("EMAIL_URL is not set; give it as smtp://user:password@host:port")
else:
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "orders@localhost")
NOTIFICATIONS_ADDRESS_BOOK = "config.address_book.emails"

# --- Logs --------------------------------------------------------------------------------------------------------
LOG_FORMAT = _choice("LOG_FORMAT", ("console", "json"), "json" if PRODUCTION else "console")
_shared_processors: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
    structlog.processors.format_exc_info,
    hide_rows,
]
_renderer: Any = (
    structlog.processors.JSONRenderer() if LOG_FORMAT == "json" else structlog.dev.ConsoleRenderer(colors=False)
)
structlog.configure(
    processors=[*_shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": RedactingFormatter,
            "processor": _renderer,
            "foreign_pre_chain": _shared_processors,
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # A line per task would be a line per ring; httpx logs a line per call.
    "loggers": {
        # The web server's own lines repeat requests that it cannot read: they take the same way as all others.
        "gunicorn.error": {"propagate": True},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "django_celery_beat": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
    },
}
