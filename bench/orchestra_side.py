"""Orchestra's processes on the measured path, without the broker and without the checks of a
worker's start.

Those checks would refuse the stub CLI. bench/decision_latency.py runs this module once as
``worker`` (as a sessions worker does: one thread per turn, ``take_turn``) and once as ``decider``
(as an interface does: receive the notification, read the row, decide).
"""

import os
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import django

from bench.child import serve, starting_together

DOORS = 8


def worker() -> None:
    from sessions_app.supervisor import worker as sessions_worker

    sessions_worker.shorten_thread_switches()
    serve(run=asking())


def asking() -> Callable[..., dict[str, int]]:
    """Return the command that lets all sessions send requests at once and reports how their turns
    ended.
    """
    from django.conf import settings

    from sessions_app import commands
    from sessions_app.models import Turn
    from sessions_app.supervisor import worker as sessions_worker

    outcomes: Counter[str] = Counter()

    def take(turn_id: UUID) -> None:
        outcomes[sessions_worker.take_turn(turn_id)] += 1

    def run(sessions: int, asks: int, folder: str) -> dict[str, int]:
        assert sessions <= settings.AGENTS.max_concurrent
        outcomes.clear()
        os.environ |= {"ANTHROPIC_BENCH_FOLDER": folder, "ANTHROPIC_BENCH_ASKS": str(asks)}
        request = commands.SessionRequest(prompt="go")
        ids = [commands.start_session(request, by="bench", may_allow=True).pk for _ in range(sessions)]
        turns = list(Turn.objects.filter(session__in=ids).values_list("pk", flat=True))
        threads = [threading.Thread(target=take, args=(turn,)) for turn in turns]
        with starting_together(Path(folder), sessions):
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        failures = Turn.objects.exclude(failure_code="").values_list("failure_code", "failure_detail")
        return dict(outcomes) | {f"{code}: {detail}": 1 for code, detail in failures}

    return run


def decider() -> None:
    from django.db import connection

    from approvals.commands import decide_approval
    from approvals.models import Approval, DecisionSource
    from approvals.queries import find_approval
    from orchestra.db.notify import listener

    pending: queue.Queue[UUID] = queue.Queue()
    known: set[str] = set()
    times: dict[str, tuple[float, float, float]] = {}
    now = time.monotonic

    def on_notification(topic: str, key: str) -> None:
        if topic == "approval" and key not in known:
            known.add(key)
            pending.put(UUID(key))

    def work() -> None:
        while True:
            approval_id = pending.get()
            approval = find_approval(approval_id)
            seen = now()
            assert approval.is_open
            began = now()
            decide_approval(
                approval_id=approval_id, decision=Approval.Status.APPROVED, by="anna", via=DecisionSource.API
            )
            times[approval.subject.rpartition(":")[2]] = (seen, began, now())
            connection.close()
            pending.task_done()

    for _ in range(DOORS):
        threading.Thread(target=work, daemon=True).start()
    listener.add(on_notification)
    listener.listening.wait()

    def report() -> dict[str, Any]:
        pending.join()  # the agent may have its answer before the decider has read its clock
        collected: dict[str, Any] = dict(times)
        times.clear()
        known.clear()
        return collected

    serve(report=report)


if __name__ == "__main__":
    django.setup()
    {"worker": worker, "decider": decider}[sys.argv[1]]()
