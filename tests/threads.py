"""Real threads that start together, each with a database connection of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections

PATIENCE_S = 60


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all ``calls`` at the same moment; their results, or the exceptions they raised, in order."""
    start = threading.Barrier(len(calls), timeout=PATIENCE_S)

    def run(call: Callable[[], Any]) -> Any:
        try:
            start.wait()
            return call()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls, timeout=PATIENCE_S))
