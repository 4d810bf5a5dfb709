"""Settings that all apps share, read once from the environment."""

import hashlib
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured

from orchestra.environment import OFF, Environment

LOOPBACK = frozenset({"127.0.0.1", "::1", "[::1]", "localhost"})
PRIVATE = "private"
FRONT_HOST = "orchestra.localhost"
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestraSettings:
    """Addresses, folders and identity of this installation.

    ``process`` is the name of the long-running process ("web", "worker", …), empty in a command.
    ``log_joined`` means that the runner writes this process's output into the log file.
    ``writes_per_minute`` and ``sockets_per_account`` apply per web process; 0 means no limit.
    ``console_host`` and ``front_host`` belong to ``orchestra.middleware.console_host``; both are
    empty if the console has no host of its own.
    """

    environment: str
    embedded: bool
    host: str
    port: int
    data_dir: Path
    log_dir: Path
    public_url: str
    console_host: str = field(repr=False)
    front_host: str
    redis_url: str = field(repr=False)
    instance: str
    marker: str
    hostname: str
    log_retention_days: int
    process: str
    log_joined: bool
    writes_per_minute: int
    sockets_per_account: int

    @property
    def log_file(self) -> Path:
        """The file that contains the log lines of all processes of this machine."""
        return self.log_dir / "api.log"

    @property
    def shares_loopback(self) -> bool:
        """Whether browsers send the console's cookies to every port of this machine."""
        return self.host in LOOPBACK and not (self.public_url or self.console_host)

    @classmethod
    def from_env(
        cls,
        env: Environment,
        *,
        data_dir: Path,
        embedded: bool,
        redis_url: str,
        secret_key: str,
        database: Mapping[str, Any],
    ) -> Self:
        """Read the settings.

        ``instance`` separates the messages of this installation from those of another one on the
        same Redis, and ``marker`` identifies the processes of its agents. Neither reveals the
        secret key, and installations with the same key differ by their database. Hosts of one
        installation may write the database's address differently, so the address is part of
        ``marker`` only.
        """
        instance = _fingerprint("orchestra instance", secret_key, database["NAME"])
        host = env("ORCHESTRA_HOST", default="127.0.0.1")
        public_url = env("ORCHESTRA_PUBLIC_URL", default="")
        names = {host, *env.list("ORCHESTRA_ALLOWED_HOSTS", default=[])}
        console_host, front_host = _console_hosts(
            ""
            if public_url
            else env("ORCHESTRA_CONSOLE_HOST", default=PRIVATE if embedded and names <= LOOPBACK else ""),
            label=_fingerprint("orchestra console", secret_key, database["NAME"]),
        )
        return cls(
            environment=env.choice(
                "ORCHESTRA_ENVIRONMENT",
                default="development" if embedded else "production",
                of=("development", "production"),
            ),
            embedded=embedded,
            host=host,
            port=env.integer("ORCHESTRA_PORT", default=5284, least=1, most=65535),
            data_dir=data_dir,
            log_dir=Path(env("ORCHESTRA_LOG_DIR", default=str(data_dir / "logs"))),
            public_url=public_url,
            console_host=console_host,
            front_host=front_host,
            redis_url=redis_url,
            instance=instance,
            marker=_fingerprint(instance, database.get("HOST"), database.get("PORT")),
            hostname=env("ORCHESTRA_HOSTNAME", default=socket.gethostname()),
            log_retention_days=env.integer("LOG_RETENTION_DAYS", default=7),
            process=env("ORCHESTRA_PROCESS", default=""),
            log_joined=env.switch("ORCHESTRA_LOG_JOINED", default=False),
            writes_per_minute=env.integer("API_WRITES_PER_MINUTE", default=600),
            sockets_per_account=env.integer("HUB_SOCKETS_PER_ACCOUNT", default=200),
        )


def _console_hosts(wanted: str, *, label: str) -> tuple[str, str]:
    """Return the console host and the front host for the value of ORCHESTRA_CONSOLE_HOST.

    Raises:
        ImproperlyConfigured: the value is not a host name.
    """
    name = wanted.strip().lower()
    if name in ("", *OFF):
        return "", ""
    if name == PRIVATE:
        return f"orchestra-{label}.localhost", FRONT_HOST
    if not HOST_NAME.fullmatch(name):
        raise ImproperlyConfigured("ORCHESTRA_CONSOLE_HOST takes a host name without a port, private, or nothing.")
    return name, name


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256("\0".join(str(part or "") for part in parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Settings of ``/metrics`` and of the OTLP export; ``detailed`` adds series by view and by
    tool.

    An export sends at most ``max_points`` points to ``export_to``, and is off if ``export_to`` is
    empty.
    """

    enabled: bool
    path: str
    token: str = field(repr=False)
    detailed: bool
    service_name: str
    export_to: str
    export_interval: timedelta
    max_points: int

    @classmethod
    def from_env(cls, env: Environment) -> Self:
        return cls(
            enabled=env.switch("METRICS_ENABLED", default=True),
            path=env("METRICS_PATH", default="/metrics"),
            token=env("METRICS_TOKEN", default=""),
            detailed=env.switch("METRICS_DETAILED", default=False),
            service_name=env("SERVICE_NAME", default="Orchestra.API"),
            export_to=env("OTEL_EXPORTER_OTLP_ENDPOINT", default=""),
            export_interval=timedelta(seconds=env.number("METRICS_EXPORT_INTERVAL_SECONDS", default=60, least=0.1)),
            max_points=env.integer("METRICS_MAX_POINTS", default=10000),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingSettings:
    """Folders of backups and archives, and how long closed rows stay in the database."""

    backup_dir: Path
    backup_s3_url: str
    backup_s3_endpoint: str
    archive_dir: Path
    retention: timedelta

    @classmethod
    def from_env(cls, env: Environment, *, data_dir: Path) -> Self:
        return cls(
            backup_dir=Path(env("BACKUP_DIR", default=str(data_dir / "backups"))).expanduser(),
            backup_s3_url=env("BACKUP_S3_URL", default=""),
            backup_s3_endpoint=env("BACKUP_S3_ENDPOINT", default=""),
            archive_dir=Path(env("ARCHIVE_DIR", default=str(data_dir / "archives"))).expanduser(),
            retention=timedelta(days=env.number("RETENTION_DAYS", default=90)),
        )
