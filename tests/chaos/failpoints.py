"""Failures at the one moment that matters: the commit.

A commit can fail before it happened, after it happened without the caller learning of it, or take the whole process
with it on either side. What would have followed the commit in that process is lost in all of these cases.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from django.db import OperationalError, transaction

POINTS = {
    "claim": "claim_turn",
    "ask": "_ask_person",
    "decide": "decide_approval",
    "consume": "answer_from_row",
    "resume": "resume_answered",
    "finish": "finish_run",
    "expire": "_expire_batch",
}
"""The function whose outermost transaction it is."""

MOMENTS = ("before", "after", "crash before", "crash after")


class Crash(BaseException):
    """The process is gone; nothing may catch this but what plays the process."""


@dataclass
class Failpoint:
    left: int
    hits: int = 0


@contextmanager
def failing(point: str, moment: str, *, times: int = 1) -> Iterator[Failpoint]:
    """Let the next ``times`` outermost commits of ``point`` fail at ``moment``, in every thread of this process."""
    failpoint = Failpoint(times)
    commit = transaction.Atomic.__exit__

    def fail(
        self: transaction.Atomic,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        connection = transaction.get_connection(self.using)
        outermost = connection.in_atomic_block and not connection.savepoint_ids
        here = sys._getframe(1).f_code.co_name == POINTS[point]
        if kind is not None or not outermost or not here or not failpoint.left:
            return commit(self, kind, error, trace)
        failpoint.left -= 1
        failpoint.hits += 1
        crash = moment.startswith("crash")
        failure = Crash(point) if crash else OperationalError("server closed the connection unexpectedly")
        if moment.endswith("before"):
            commit(self, type(failure), failure, None)
        else:
            connection.run_on_commit = []
            commit(self, None, None, None)
        raise failure

    transaction.Atomic.__exit__ = fail  # type: ignore[method-assign,assignment]
    try:
        yield failpoint
    finally:
        transaction.Atomic.__exit__ = commit  # type: ignore[method-assign]
