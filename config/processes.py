"""The table of an installation's processes; ``manage.py up`` runs them all on this machine."""

import sys

from django.conf import settings

from orchestra.auth.sign_in_links import local_url
from orchestra.middleware.console_host import has_ipv6_loopback
from orchestra.runtime import embedded
from orchestra.runtime.exit_guard import GRACE_S
from orchestra.runtime.runner import Program
from sessions_app.agents.discovery import find_cli

CELERY = ["-m", "celery", "--quiet", "--skip-checks", "-A", "config"]  # `up` has run the checks
SPARE_SESSION_SLOTS = 8  # for short tasks while all session slots are in use
WORKER_THREADS = 8


def programs() -> list[Program]:
    """Return the programs in the order they start. Interfaces stop first, then the workers, and the
    broker last.
    """
    orchestra = settings.ORCHESTRA
    host = orchestra.hostname
    daphne = ["-m", "orchestra.realtime.daphne_server", "-b", orchestra.host, "-p", str(orchestra.port)]
    if settings.BEHIND_TLS:
        daphne.append("--proxy-headers")  # audit and throttles need the client's address, not the proxy's
    daphne += _other_loopback()
    quiet = ["-v", "0", "--no-server-name", "--application-close-timeout", "5"]
    health = f"{local_url(orchestra.host, orchestra.port)}/health"
    sessions = f"sessions,sessions.{host}"
    slots = settings.AGENTS.max_concurrent + SPARE_SESSION_SLOTS
    return [
        *_broker(),
        _python("web", [*daphne, *quiet, "config.asgi:application"], stops=1, grace_s=8, url=health),
        _python("sessions", _worker(sessions, f"sessions@{host}", slots), stops=2, grace_s=GRACE_S + 3),
        _python("worker", _worker("default", f"default@{host}", WORKER_THREADS), stops=2, grace_s=GRACE_S + 3),
        _python("beat", [*CELERY, "beat", "--pidfile", ""], stops=1, grace_s=5),
        *_telegram(),
    ]


def advice() -> list[tuple[str, str]]:
    """Return the lines about the CLI that `up` prints: its version, its login, and how to cure a
    problem.
    """
    cli = find_cli()
    found = f"Claude Code {cli.version} at {cli.path}" if cli.path else ""
    facts = [found + ", logged in" if cli.logged_in else found, cli.detail]
    lines = [fact for fact in facts if fact]
    return [("Agent" if number == 0 else "", line) for number, line in enumerate(lines)]


def _other_loopback() -> list[str]:
    """Return Daphne's arguments to listen on ``[::1]`` as well, if the console has a ``.localhost``
    name.

    Browsers try ``[::1]`` first for such a name. Another program that listens there on our port
    would get their requests with the cookies.
    """
    orchestra = settings.ORCHESTRA
    if not orchestra.console_host or orchestra.host != "127.0.0.1" or not has_ipv6_loopback():
        return []
    return ["-e", rf"tcp6:{orchestra.port}:interface=\:\:1"]


def _broker() -> list[Program]:
    """Return the embedded Valkey server, unless ``REDIS_URL`` names another server."""
    data_dir = settings.ORCHESTRA.data_dir
    if embedded.url(data_dir) != settings.ORCHESTRA.redis_url:
        return []
    path = embedded.socket_path(data_dir)
    command = embedded.server_command(path, data_dir / "run")
    log = str(data_dir / "run" / "valkey.log")
    return [Program(name="valkey", command=command, stops=3, grace_s=10, socket=str(path), own_log=log)]


def _telegram() -> list[Program]:
    """Return the process that calls the Bot API, if a bot and a chat are configured."""
    if not settings.TELEGRAM.configured:
        return []
    return [_python("telegram", ["manage.py", "telegram"], stops=1, grace_s=12)]


def _worker(queues: str, name: str, slots: int) -> list[str]:
    chatter_off = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    pool = ["-P", "threads", "-c", str(slots)]
    return [*CELERY, "worker", "-Q", queues, "-n", name, *pool, *chatter_off]


def _python(name: str, arguments: list[str], *, stops: int, grace_s: float, url: str = "") -> Program:
    environment = {
        "ORCHESTRA_PROCESS": name,
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",  # otherwise glibc keeps an arena per thread and returns little memory
    }
    command = [sys.executable, *arguments]
    return Program(name=name, command=command, stops=stops, grace_s=grace_s, environment=environment, url=url)
