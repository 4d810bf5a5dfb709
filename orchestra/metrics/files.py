"""The names of the files in which processes count; see ``process.py``."""

import os
import re
import socket

from prometheus_client import values
from prometheus_client.values import MultiProcessValue

_HOST = re.sub("[^A-Za-z0-9.-]", "-", socket.gethostname())  # read once: each increment asks for the name


def name_by_host_and_process() -> None:
    """Let prometheus_client name this process's files by host and process id.

    Its own names hold the process id alone, and containers that share the folder have equal process
    ids. Every metric object keeps the class it was made with, so the settings call this before any
    metric is made.
    """
    values.ValueClass = MultiProcessValue(_host_and_process)  # type: ignore[no-untyped-call]


def _host_and_process() -> str:
    return f"{_HOST}-{os.getpid()}"
