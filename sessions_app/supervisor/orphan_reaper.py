"""Ends agents' processes that left their process group. They are found by a marker in their
environment.
"""

import contextlib
import logging
from collections.abc import Iterator
from uuid import UUID

import psutil
from django.conf import settings

from sessions_app.models import Run
from sessions_app.supervisor.cli.launch import INSTANCE_MARKER, MARKER

logger = logging.getLogger(__name__)


def marked_processes() -> Iterator[tuple[psutil.Process, str]]:
    """Yield every process of this installation's agents on this host, with the id of its run.

    A child inherits the marker through fork, setsid and exec, unless a program clears its
    environment.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            env = process.environ()
            if env.get(INSTANCE_MARKER) == settings.ORCHESTRA.marker and env.get(MARKER):
                yield process, env[MARKER]


def kill_run(run_id: UUID) -> int:
    """Kill everything that still carries this run's marker; return how many processes that were."""
    return _kill([process for process, marker in marked_processes() if marker == str(run_id)])


def kill_leftovers() -> int:
    """Kill every marked process whose run has ended or never was; return how many."""
    found = list(marked_processes())
    if not found:
        return 0
    live = {str(run_id) for run_id in Run.objects.filter(ended_at__isnull=True).values_list("pk", flat=True)}
    return _kill([process for process, marker in found if marker not in live])


def _kill(processes: list[psutil.Process]) -> int:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()  # psutil compares the time of creation, so a reused pid is safe
    if processes:
        logger.warning("killed %d leftover agent processes", len(processes))
    return len(processes)
