"""Failures at the one moment that matters: the commit.

A commit can fail before it happened, after it happened without the caller learning of it, or take the whole process
with it on either side. What would have followed the commit in that process is lost in all of these cases.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any
from unittest import mock

from django.db import OperationalError, transaction

from orchestra.db import sql
from orchestra.db.unit_of_work import UnitOfWork

POINTS = {
    "claim": "claim_turn",
    "ask": "_request_approval",
    "decide": "decide_approval",
    "consume": "consume_approval",
    "resume": "resume_answered",
    "finish": "finish_run",
    "expire": "_expire_batch",
}
"""The function whose outermost transaction, unit of work or single statement it is."""

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
    exit_atomic, commit_unit, run_row = transaction.Atomic.__exit__, UnitOfWork.commit, sql.row

    def due(caller: FrameType) -> bool:
        hit = caller.f_code.co_name == POINTS[point] and failpoint.left > 0
        failpoint.left -= hit
        failpoint.hits += hit
        return hit

    def failure() -> BaseException:
        if moment.startswith("crash"):
            return Crash(point)
        return OperationalError("server closed the connection unexpectedly")

    def fail_atomic(
        self: transaction.Atomic,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        connection = transaction.get_connection(self.using)
        outermost = connection.in_atomic_block and not connection.savepoint_ids
        if kind is not None or not outermost or not due(sys._getframe(1)):
            return exit_atomic(self, kind, error, trace)
        failed = failure()
        if moment.endswith("before"):
            exit_atomic(self, type(failed), failed, None)
        else:
            connection.run_on_commit = []
            exit_atomic(self, None, None, None)
        raise failed

    def fail_unit(self: UnitOfWork) -> Any:
        if not due(sys._getframe(1)):
            return commit_unit(self)
        if moment.endswith("after"):
            self._callbacks = []
            commit_unit(self)
        raise failure()

    def fail_statement(statement: str, *values: object) -> Any:
        if not due(sys._getframe(1)):
            return run_row(statement, *values)
        if moment.endswith("after"):
            run_row(statement, *values)
        raise failure()

    with (
        mock.patch.object(transaction.Atomic, "__exit__", fail_atomic),
        mock.patch.object(UnitOfWork, "commit", fail_unit),
        mock.patch.object(sql, "row", fail_statement),
    ):
        yield failpoint
