"""Django's settings and a typed object per app. No other module reads the environment."""

import contextlib
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

from approvals.conf import ApprovalSettings
from escalation.conf import TelegramSettings
from orchestra.conf import KeepingSettings, MetricsSettings, OrchestraSettings
from orchestra.environment import Environment
from orchestra.logs import redaction
from orchestra.logs.config import logging_config
from orchestra.middleware import security_headers
from orchestra.rest import schema_descriptions
from orchestra.runtime import embedded
from sessions_app.conf import AgentSettings

os.umask(0o077)  # other accounts may not read the database, keys, sockets and logs

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()  # NAME_FILE names a file with the value, as containers and systemd pass secrets
env.read_env(env("ORCHESTRA_ENV_FILE", default=BASE_DIR / ".env"))

EMBEDDED = not (env("DATABASE_URL", default="") or env("REDIS_URL", default=""))
DATA_DIR = Path(env("ORCHESTRA_DATA_DIR", default="") or BASE_DIR / "var").expanduser().resolve()
DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)


def _kept_secret(path: Path) -> str:
    """Return the secret key of the embedded mode; the first start creates it, concurrent starts get
    the same.
    """
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_text(secrets.token_urlsafe(50))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # atomic, so that no process reads a partial key
        fresh.unlink()
    return path.read_text()


SECRET_KEY = env("ORCHESTRA_SECRET_KEY", default="") or (_kept_secret(DATA_DIR / "secret_key") if EMBEDDED else "")
DEBUG = False

DATABASES = {
    "default": env.db_url_config(
        env.address(
            "DATABASE_URL",
            default=f"sqlite:///{DATA_DIR / 'orchestra.db'}",
            schemes=("postgres", "postgresql", "sqlite"),
        )
    )
}

# --- one typed object per app
REDIS_URL = env.address("REDIS_URL", default=embedded.url(DATA_DIR), schemes=("redis", "rediss", "unix"))
ORCHESTRA = OrchestraSettings.from_env(
    env,
    data_dir=DATA_DIR,
    embedded=EMBEDDED,
    redis_url=REDIS_URL,
    secret_key=SECRET_KEY,
    database=DATABASES["default"],
)
METRICS = MetricsSettings.from_env(env)
KEEPING = KeepingSettings.from_env(env, data_dir=DATA_DIR)
METRICS_DIR = DATA_DIR / "run" / "metrics"
COUNTS_METRICS = METRICS.enabled and bool(ORCHESTRA.process)
if COUNTS_METRICS:
    METRICS_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(METRICS_DIR))  # prometheus_client reads it on import
    from orchestra.metrics import files

    files.name_by_host_and_process()
PROMETHEUS_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, float("inf"))  # seconds
APPROVALS = ApprovalSettings.from_env(env, embedded=EMBEDDED)
AGENTS = AgentSettings.from_env(env, data_dir=DATA_DIR)
TELEGRAM = TelegramSettings.from_env(env)

ALLOWED_HOSTS = env.list(
    "ORCHESTRA_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", ORCHESTRA.host] if EMBEDDED else []
)
ALLOWED_HOSTS += sorted({ORCHESTRA.console_host, ORCHESTRA.front_host} - {"", *ALLOWED_HOSTS})
CSRF_TRUSTED_ORIGINS = env.list("ORCHESTRA_TRUSTED_ORIGINS", default=[])
if (_public := urlsplit(ORCHESTRA.public_url)).netloc:  # the browser's origin, whatever Host a proxy forwards
    CSRF_TRUSTED_ORIGINS += sorted({f"{_public.scheme}://{_public.netloc}"} - {*CSRF_TRUSTED_ORIGINS})

# --- applications
INSTALLED_APPS = [
    "orchestra.admin_site.OrchestraAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "orchestra",
    "approvals",
    "sessions_app",
    "escalation",
    "console",
]
MIDDLEWARE = [
    *(["orchestra.middleware.prometheus.Before"] if METRICS.enabled else []),
    "orchestra.middleware.request_id.observed",
    "django.middleware.security.SecurityMiddleware",
    "orchestra.middleware.security_headers.Headers",
    "servestatic.middleware.ServeStaticMiddleware",
    "orchestra.middleware.console_host.one_host",
    "orchestra.middleware.nul_bytes.without_nul",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "orchestra.auth.actor.by_request",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *(["orchestra.middleware.prometheus.After"] if METRICS.enabled else []),
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
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
                "console.approvals.violation_views.alarm",
                "console.approvals.stop_views.standstill",
            ]
        },
    }
]

# --- database
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # FULL: a decision that was reported as recorded survives a power failure.
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;",
    }
else:
    IS_WEB = ORCHESTRA.process == "web"
    POOL_MIN = env.integer("DB_POOL_MIN_SIZE", default=5 if IS_WEB else 1)
    _database.setdefault("OPTIONS", {})["pool"] = {
        "min_size": POOL_MIN,
        "max_size": env.integer("DB_POOL_MAX_SIZE", default=100 if IS_WEB else 10, least=max(1, POOL_MIN)),
        "timeout": 10,
        "reconnect_timeout": 5,  # then the next request connects; the pool's own pauses grow to 30 s
    }
    # The server plans a repeated statement once per connection.
    _database["OPTIONS"] |= {"server_side_binding": True, "prepare_threshold": 2}
    # A process that freezes inside a transaction must not keep its rows locked for the other
    # processes.
    _frozen = "-c idle_in_transaction_session_timeout=30s"
    _database["OPTIONS"]["options"] = f"{_frozen} {_database['OPTIONS'].get('options', '')}".strip()
    _database["CONN_MAX_AGE"] = 0
    _database["ENGINE"] = "orchestra.db.postgresql"
if COUNTS_METRICS:
    _database["ENGINE"] = f"orchestra.db.counted.{_database['ENGINE'].rpartition('.')[2]}"

# --- people
AUTHENTICATION_BACKENDS = ["orchestra.auth.backends.RightsBackend"]
LOGIN_URL = "/sign-in"
SESSION_ENGINE = "orchestra.auth.session_store"
SESSION_COOKIE_AGE = 14 * 24 * 3600  # seconds
CSRF_FAILURE_VIEW = "orchestra.auth.views.stale_form"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
BEHIND_TLS = ORCHESTRA.public_url.startswith("https://")  # a proxy terminates TLS and sets X-Forwarded-Proto
if BEHIND_TLS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 30 * 86400
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for the domain's other hosts is the administrator's decision
    "security.W021",  # and so is the browsers' preload list
    "security.W008",  # the proxy redirects; probes and scrapes from inside use plain HTTP
    "security.W009", "security.W020",  # orchestra.E001 and E003 report these as errors
    *(() if BEHIND_TLS else ("security.W004", "security.W012", "security.W016")),  # orchestra.W002 covers these
]  # fmt: skip
SECURE_REFERRER_POLICY = "same-origin"  # with "no-referrer" forms send "Origin: null", which CSRF refuses
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {"DIRECTIVES": security_headers.POLICY}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- REST
_IN_MEMORY = "orchestra.metrics.cache.LocMemCache"
CACHES = {
    "default": {"BACKEND": _IN_MEMORY},
    "throttles": {"BACKEND": _IN_MEMORY, "LOCATION": "throttles", "OPTIONS": {"MAX_ENTRIES": 20_000}},
}
REST_FRAMEWORK = {
    "DEFAULT_THROTTLE_CLASSES": ["orchestra.rest.throttles.Creations", "orchestra.rest.throttles.Repetitions"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "orchestra.auth.api_authentication.KnownToken",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["orchestra.auth.api_authentication.HasRight"],
    "DEFAULT_RENDERER_CLASSES": ["orchestra.rest.exact_json.ExactJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["orchestra.rest.exact_json.ExactJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "orchestra.rest.pagination.Pages",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "EXCEPTION_HANDLER": "orchestra.rest.viewsets.answer_for_error",
}
REST_KNOX = {"TOKEN_TTL": None, "AUTO_REFRESH": False}
SPECTACULAR_SETTINGS = {
    "TITLE": "Orchestra API",
    "DESCRIPTION": schema_descriptions.DESCRIPTION,
    "TAGS": schema_descriptions.TAGS,
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVE_AUTHENTICATION": [],
    "PREPROCESSING_HOOKS": ["orchestra.rest.schema.without_optional_slash"],
    "SCHEMA_PATH_PREFIX": "/api",
    "ENUM_NAME_OVERRIDES": {
        "ApprovalStatus": "approvals.models.Approval.Status",
        "SessionStatus": "sessions_app.models.AgentSession.Status",
        "TurnStatus": "sessions_app.models.Turn.Status",
        "AgentStatus": "sessions_app.models.Agent.Status",
        "ScheduleOverlap": "sessions_app.models.Schedule.Overlap",
        "ScheduledRunStatus": "sessions_app.models.ScheduledRun.Status",
        "StopMode": "approvals.models.Stop.Mode",
        "DecidedViaEnum": "approvals.models.DecisionSource",
        "ModeEnum": [("polling", "polling"), ("webhook", "webhook")],  # Telegram's
    },
}

# --- Celery (queues and the schedule are in config/celery.py)
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)

# --- logs: every line is redacted, whichever library wrote it
redaction.learn(SECRET_KEY, TELEGRAM.token, TELEGRAM.webhook_secret, str(_database.get("PASSWORD") or ""))
redaction.learn(*redaction.secrets_in(os.environ))
WRITES_LOG = ORCHESTRA.environment == "production" and ORCHESTRA.process and not ORCHESTRA.log_joined
LOGGING = logging_config(
    production=ORCHESTRA.environment == "production",
    process=ORCHESTRA.process,
    typed=Path(sys.argv[0]).name == "manage.py" and not ORCHESTRA.process,
    file=ORCHESTRA.log_file if WRITES_LOG else None,
    days=ORCHESTRA.log_retention_days,
)

# --- `manage.py up`: the programs, and the advice it prints
UP_PROGRAMS = "config.processes.programs"
UP_ADVICE = "config.processes.advice"
DRILL = "config.drill.rehearse"  # `manage.py drill`
UP_FIRST_STEP = './manage.py session start "Write hello.txt" --agent demo --watch'

# --- the rest
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_ALLOW_ALL_ORIGINS = False  # foreign pages have no business with our files, nor with whether we are here
