"""``manage.py up`` runs all processes of an installation in the foreground, with one log."""

import errno
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import psutil
from django.conf import settings
from django.core.checks import Tags
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.module_loading import import_string

from orchestra.auth import sign_in_links
from orchestra.db import notify
from orchestra.logs import redaction
from orchestra.metrics import process as process_metrics
from orchestra.middleware import console_host
from orchestra.runtime import data_lock, embedded, runner

LEFT_OVER_BROKER_S = 20.0


class Command(BaseCommand):
    help = "Start web, workers, beat and, unless REDIS_URL names one, the embedded Valkey server. Ctrl-C stops them."

    # Not all checks: loading every route doubles the time to start, and the web process checks them
    # anyway.
    requires_system_checks = (Tags.security, "orchestra")

    def handle(self, *args: Any, **options: Any) -> None:
        orchestra = settings.ORCHESTRA
        lock = lock_data_folder(orchestra.data_dir)
        refuse_busy_port(orchestra.host, orchestra.port)
        if orchestra.console_host and orchestra.host == "127.0.0.1" and console_host.has_ipv6_loopback():
            refuse_busy_port("::1", orchestra.port)
        self.stdout.write("Orchestra is starting ...")
        # No process listens yet, and the embedded broker does not run.
        with notify.suppressed(), ThreadPoolExecutor(1) as beside:
            advice = beside.submit(import_string(settings.UP_ADVICE))
            call_command("migrate", interactive=False, verbosity=0)
            banner = self.banner(advice.result())
        process_metrics.start_anew(settings.METRICS_DIR)
        programs = import_string(settings.UP_PROGRAMS)()
        for program in programs:
            if program.socket:
                wait_for_left_over_broker(Path(program.socket))
        plan = runner.Plan(
            programs=programs,
            directory=str(settings.BASE_DIR),
            log_file=str(orchestra.log_file),
            log_days=orchestra.log_retention_days,
            log_as_json=orchestra.environment == "production",
            banner=banner,
            secrets=[settings.SECRET_KEY, *redaction.secrets_in(os.environ)],
        )
        connections.close_all()
        runner.replace_process(plan, keep=[lock.fileno()])

    def banner(self, advice: list[tuple[str, str]]) -> str:
        """Return the text for the terminal when all processes run.

        It holds a sign-in link, so it is never logged.
        """
        orchestra = settings.ORCHESTRA
        facts = [("Open", f"{sign_in_links.base_url()}/")]
        if orchestra.embedded:
            link = sign_in_links.make_link(sign_in_links.owner())
            facts.append(("Sign in", f"{link}  (once, within 10 minutes)"))
        facts += [*advice, ("Data", str(orchestra.data_dir)), ("Log", str(orchestra.log_file))]
        facts += [("Try", settings.UP_FIRST_STEP), ("Stop", "Ctrl-C")]
        lines = [f"  {self.style.MIGRATE_LABEL(f'{name:<9}')} {text}" for name, text in facts]
        return "\n".join(["", self.style.SUCCESS("Orchestra is ready."), *lines, ""])


def lock_data_folder(data_dir: Path) -> TextIO:
    """Lock the data folder for this process and the runner it becomes; the kernel releases the lock
    at its end.

    Raises:
        CommandError: another process holds the lock.
    """
    try:
        return data_lock.lock_runner(data_dir)
    except data_lock.DataFolderBusy as busy:
        raise CommandError(
            f"Orchestra is already running on {data_dir} (process {busy.owner}). Stop that one first, or give this one "
            "a data folder and a port of its own: ORCHESTRA_DATA_DIR=/some/where ORCHESTRA_PORT=5285 make run"
        ) from None


def refuse_busy_port(host: str, port: int) -> None:
    """
    Raises:
        CommandError: another process listens there (named, if the system shows it), or the address
        cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CommandError(
                    f"Port {port} on {host} is taken by {describe_listener(port)}. Stop it, or choose another port: "
                    f"ORCHESTRA_PORT={port + 1} make run"
                ) from None
            raise CommandError(
                f"Cannot listen on {host}, port {port} ({error.strerror}): look at ORCHESTRA_HOST and ORCHESTRA_PORT."
            ) from None


def describe_listener(port: int) -> str:
    """Name the process that listens on ``port``, as far as this account may see it."""
    try:
        pids = {
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr[1:2] == (port,) and found.pid
        }
        process = psutil.Process(min(pids))
        return f"process {process.pid} ({' '.join(process.cmdline())[:120] or process.name()}, {process.username()})"
    except (ValueError, psutil.Error):
        return "a process of another account"


def wait_for_left_over_broker(path: Path) -> None:
    """Wait for the end of a broker that a killed runner left behind, because it removes the socket
    when it ends.

    Raises:
        CommandError: it does not end in time, or the folder belongs to another account.
    """
    try:
        embedded.prepare(path)
    except PermissionError as error:
        raise CommandError(str(error)) from None
    deadline = time.monotonic() + LEFT_OVER_BROKER_S
    while embedded.answers(path):
        if time.monotonic() > deadline:
            raise CommandError(f"A Valkey server without a runner still answers on {path}; end that process first.")
        time.sleep(0.1)
