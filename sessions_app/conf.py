"""Settings of agents (``settings.AGENTS``); units are in the fields' names."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from orchestra.environment import Environment

ENV_ALLOW = (
    "PATH,HOME,LANG,LC_*,TERM,USER,SHELL,TZ,TMPDIR,*_PROXY,*_proxy,SSL_CERT_*,NODE_EXTRA_CA_CERTS,"
    "ANTHROPIC_*,CLAUDE_CODE_OAUTH_TOKEN"
)

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    cli_path: str
    working_roots: tuple[Path, ...]
    env_allow: tuple[str, ...]
    run_as: str
    config_dir: str
    idle_timeout: timedelta
    turn_timeout: timedelta
    background_timeout: timedelta
    max_concurrent: int
    line_cap_bytes: int
    session_cap_bytes: int

    @classmethod
    def from_env(cls, env: Environment, *, data_dir: Path) -> Self:
        roots = env.list("AGENT_WORKING_ROOTS", default=[str(data_dir.parent / "workspaces")])
        return cls(
            cli_path=env("AGENT_CLI_PATH", default="claude"),
            working_roots=tuple(Path(root).expanduser().resolve() for root in roots),
            env_allow=tuple(env.list("AGENT_ENV_ALLOW", default=ENV_ALLOW.split(","))),
            run_as=env("AGENT_RUN_AS", default=""),
            config_dir=env("AGENT_CONFIG_DIR", default=""),
            idle_timeout=timedelta(seconds=env.number("AGENT_IDLE_TIMEOUT_SECONDS", default=600, least=0.1)),
            turn_timeout=timedelta(seconds=env.number("AGENT_TURN_TIMEOUT_SECONDS", default=14400, least=0.1)),
            background_timeout=timedelta(seconds=env.number("AGENT_BACKGROUND_TIMEOUT_SECONDS", default=3600, least=0)),
            max_concurrent=env.integer("AGENT_MAX_CONCURRENT_SESSIONS", default=50, least=1),
            line_cap_bytes=64 * MEGABYTE,
            session_cap_bytes=int(env.number("AGENT_MAX_SESSION_MEGABYTES", default=256, least=0.001) * MEGABYTE),
        )
