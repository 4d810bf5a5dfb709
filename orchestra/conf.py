"""Settings every app shares, read once from the environment."""

import hashlib
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from environ import Env


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestraSettings:
    """Where this installation lives and what it is called; ``process`` is which of its processes this is, if one."""

    environment: str
    embedded: bool
    host: str
    port: int
    data_dir: Path
    log_dir: Path
    public_url: str
    redis_url: str = field(repr=False)
    instance: str
    hostname: str
    log_retention_days: int
    process: str

    @classmethod
    def from_env(cls, env: Env, *, data_dir: Path, embedded: bool, redis_url: str, secret_key: str) -> Self:
        """``instance`` tells processes and messages of this installation from a neighbour's;
        it is derived from the secret key and gives nothing of it away."""
        return cls(
            environment=env("ORCHESTRA_ENVIRONMENT", default="development" if embedded else "production"),
            embedded=embedded,
            host=env("ORCHESTRA_HOST", default="127.0.0.1"),
            port=env.int("ORCHESTRA_PORT", default=5284),
            data_dir=data_dir,
            log_dir=Path(env("ORCHESTRA_LOG_DIR", default=str(data_dir / "logs"))),
            public_url=env("ORCHESTRA_PUBLIC_URL", default=""),
            redis_url=redis_url,
            instance=hashlib.sha256(b"orchestra instance:" + secret_key.encode()).hexdigest()[:16],
            hostname=env("ORCHESTRA_HOSTNAME", default=socket.gethostname()),
            log_retention_days=env.int("LOG_RETENTION_DAYS", default=7),
            process=env("ORCHESTRA_PROCESS", default=""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Whether, where and to whom figures are shown."""

    enabled: bool
    path: str
    token: str = field(repr=False)

    @classmethod
    def from_env(cls, env: Env) -> Self:
        return cls(
            enabled=env.bool("METRICS_ENABLED", default=True),
            path=env("METRICS_PATH", default="/metrics"),
            token=env("METRICS_TOKEN", default=""),
        )
