"""A thousand times the same instant: two people at two doors, and a person against the clock. ``--rounds N``.

Each contestant keeps its thread and its database connection over all rounds, so that a race costs little more than its
two transactions. Run as a program it races on a fresh SQLite database.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

ROUNDS = 1000


def race(rounds: int, contestants: Sequence[Callable[[UUID], Any]], ask: Callable[[int], UUID]) -> list[list[Any]]:
    """The results, or exceptions, of all contestants in every round."""
    from django.db import connection

    start = threading.Barrier(len(contestants) + 1, timeout=60)
    end = threading.Barrier(len(contestants) + 1, timeout=60)
    results: list[list[Any]] = [[None] * len(contestants) for _ in range(rounds)]
    prize: list[UUID] = []

    def run(place: int, contest: Callable[[UUID], Any]) -> None:
        try:
            for number in range(rounds):
                start.wait()
                try:
                    results[number][place] = contest(prize[-1])
                except Exception as error:
                    results[number][place] = error
                end.wait()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(contestants)]
    for thread in threads:
        thread.start()
    for number in range(rounds):
        prize.append(ask(number))
        start.wait()
        end.wait()
    for thread in threads:
        thread.join(60)
    return results


def two_doors(rounds: int) -> dict[str, int]:
    """Approve at one door against reject at another; how often each won."""
    from approvals.commands import ApprovalRequest, decide_approval, request_approval

    def decides(verdict: str, by: str, via: str) -> Callable[[UUID], Any]:
        return lambda pk: decide_approval(approval_id=pk, decision=verdict, by=by, via=via)

    contestants = [decides("approved", "anna", "api"), decides("rejected", "boris", "admin")]
    results = race(rounds, contestants, lambda _: request_approval(ApprovalRequest(title="race", requested_by="olga")))
    return _judged(results)


def person_and_clock(rounds: int) -> dict[str, int]:
    """Approve against expire within 6 ms around the deadline; how often each won."""
    from datetime import timedelta

    from approvals.commands import ApprovalRequest, decide_approval, expire_approval, request_approval

    deadline: dict[UUID, float] = {}

    def ask(number: int) -> UUID:
        pk = request_approval(ApprovalRequest(title="race", requested_by="olga"), timeout=timedelta(milliseconds=12))
        deadline[pk] = time.monotonic() + 0.012 + (number % 13 - 6) / 1000
        return pk

    def wait(pk: UUID) -> None:
        time.sleep(max(0.0, deadline[pk] - time.monotonic()))

    def approve(pk: UUID) -> Any:
        wait(pk)
        return decide_approval(approval_id=pk, decision="approved", by="anna", via="api")

    def expire(pk: UUID) -> Any:
        wait(pk)
        while not expire_approval(pk):
            from approvals.models import Approval

            if not Approval.objects.filter(pk=pk, status="pending").exists():
                return False
            time.sleep(0.002)
        return True

    return _judged(race(rounds, [approve, expire], ask))


def _judged(results: list[list[Any]]) -> dict[str, int]:
    """Raises AssertionError unless every round had exactly one winner and every loser was told the truth."""
    from approvals.errors import ApprovalClosed, ApprovalExpired
    from approvals.models import Approval
    from tests.chaos.checker import Evidence, violations

    rows = list(Approval.objects.order_by("created_at"))
    won: Counter[str] = Counter(row.status for row in rows)
    for row, outcome in zip(rows, results, strict=True):
        winners = [result for result in outcome if isinstance(result, Approval) or result is True]
        losers = [
            result for result in outcome if isinstance(result, ApprovalClosed | ApprovalExpired) or result is False
        ]
        assert (len(winners), len(losers)) == (1, 1), outcome
        told = [
            loser.facts["decided_by"]
            for loser in losers
            if isinstance(loser, ApprovalClosed) and "decided_by" in loser.facts
        ]
        assert all(name == row.decided_by for name in told), outcome
    found = violations(Evidence(ledger=[]))
    assert not found, found[:5]
    return dict(won)


RACES = {race.__name__: race for race in (two_doors, person_and_clock)}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.races", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    wanted = parser.parse_args(argv)
    chosen = os.environ.get("RACE")
    if chosen:
        return _race_here(chosen, RACES[chosen], wanted.rounds)
    for name in RACES:  # settings are read once a process
        with tempfile.TemporaryDirectory(prefix="orch-race-") as folder:
            ours = ("DATABASE_URL", "REDIS_URL", "ORCHESTRA_", "APPROVAL_", "AGENT_")
            environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
            environment |= {"ORCHESTRA_DATA_DIR": folder, "ORCHESTRA_ENV_FILE": os.devnull, "RACE": name}
            environment |= {"DJANGO_SETTINGS_MODULE": "config.settings"}
            again = [sys.executable, "-m", "tests.chaos.races", f"--rounds={wanted.rounds}"]
            if subprocess.run(again, env=environment, check=False).returncode:
                return 1
    return 0


def _race_here(name: str, run: Callable[[int], dict[str, int]], rounds: int) -> int:
    import logging

    import django
    from django.core.management import call_command

    django.setup()
    logging.disable(logging.CRITICAL)
    call_command("migrate", verbosity=0)
    begun = time.monotonic()
    won = run(rounds)
    print(
        json.dumps({"race": name, "rounds": rounds, "won": won, "seconds": round(time.monotonic() - begun, 1)}),
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
