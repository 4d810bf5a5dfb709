"""A campaign: the whole of Orchestra under fire, then the checker. ``python -m tests.chaos --help``.

Real servers, real processes, a CLI that keeps a ledger. The exit code is 0 only if no promise was broken.
"""

import argparse
import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

from tests import servers
from tests.fakes.fake_cli import make_fake_cli
from tests.stack import Stack, running, until

if TYPE_CHECKING:
    from tests.chaos.checker import Violation
    from tests.chaos.clients import Approvers, Operators, Rest
    from tests.chaos.nemesis import Nemesis
    from tests.chaos.proxy import Proxy
    from tests.chaos.watch import Watch

HOLD_S = 2.0
QUIET_S = 180.0  # how long everything may take to end once all is up again: a lost run alone is found after 30 s
BACK_S = 15.0  # a server's return is noticed within this; so long it counts as away
SETTLE_S = 12.0  # one round of every sweep


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="of clients and faults; a new one if not given")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--approvals", type=int, default=5, help="gated calls of each session")
    parser.add_argument("--every", type=float, default=3, help="seconds between faults")
    parser.add_argument("--only", default="", help='these faults alone, such as "kill sessions worker,FLUSHALL"')
    parser.add_argument("--sqlite", action="store_true", help="on SQLite instead of PostgreSQL")
    parser.add_argument("--postgresql", dest="sqlite", action="store_false")
    parser.add_argument("--keep", action="store_true", help="keep the data folder and the logs")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    wanted = arguments(argv)
    seed = wanted.seed if wanted.seed is not None else int.from_bytes(os.urandom(3))
    on = "SQLite" if wanted.sqlite else "PostgreSQL"
    print(
        f"chaos: seed {seed}, {wanted.seconds:g} s, {wanted.sessions} sessions x {wanted.approvals} approvals on {on}",
        flush=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="orch-chaos-"))
    try:
        with running_stack(folder, sqlite=wanted.sqlite) as (stack, proxy, postgres_url):
            found = campaign(stack, wanted, seed, proxy, postgres_url)
    finally:
        servers.stop()
        if wanted.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if found else 0


@contextlib.contextmanager
def running_stack(folder: Path, *, sqlite: bool) -> "Iterator[tuple[Stack, Proxy | None, str]]":
    """Orchestra with servers of its own; this process becomes one of its clients, with Django on the same rows.

    Both reach PostgreSQL through a proxy that can cut connections; its own address is returned beside.
    """
    from tests.chaos.proxy import Proxy

    postgres_url = "" if sqlite else servers.start_postgres(durable=True)
    proxy = Proxy(f"{postgres_url.partition('?host=')[2]}/.s.PGSQL.5432") if postgres_url else None
    own = {"DATABASE_URL": f"postgres://orchestra@127.0.0.1:{proxy.port}/postgres"} if proxy else {}
    own |= {
        "REDIS_URL": servers.start_redis(),
        "ORCHESTRA_SECRET_KEY": os.urandom(32).hex(),
        "ORCHESTRA_ENVIRONMENT": "development",
        "ORCHESTRA_ALLOWED_HOSTS": "127.0.0.1",
        "ORCHESTRA_ENV_FILE": os.devnull,
        "ORCHESTRA_SELF_APPROVAL": "on",
        "AGENT_CLI_PATH": str(make_fake_cli(folder / "cli")),
        "ANTHROPIC_API_KEY": "none",
        "APPROVAL_HOLD_SECONDS": str(HOLD_S),
        "APPROVAL_CHECK_INTERVAL_SECONDS": "5",
    }
    stack = Stack(folder, own)
    environment = stack.environment()
    os.environ.clear()
    os.environ.update(environment)
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    with running(folder, **own) as started:
        import django

        os.environ["ORCHESTRA_PORT"] = str(started.port)
        django.setup()
        logging.disable(logging.CRITICAL)  # of this process alone: what it meets is written into the histories
        yield started, proxy, postgres_url


def campaign(
    stack: Stack, wanted: argparse.Namespace, seed: int, proxy: "Proxy | None", postgres_url: str
) -> "list[Violation]":
    """Clients and nemesis side by side, then quiet, then judgement; prints the table."""
    from django.conf import settings

    from sessions_app.models import Agent
    from tests.chaos.checker import Evidence, violations
    from tests.chaos.clients import Approvers, Habits, Job, Operators
    from tests.chaos.nemesis import Nemesis
    from tests.chaos.server import postgres_server, redis_server
    from tests.chaos.watch import Watch
    from tests.fakes.fake_cli import read_ledger

    until(
        lambda: Agent.objects.filter(name="claude", status="ready").exclude(tested="").exists(),
        "the CLI is known and tested",
    )
    people = [_person(stack, name) for name in ("anna", "boris")]
    by_kind = [process for process, _ in servers._servers]
    long = wanted.seconds >= 300
    nemesis = Nemesis(
        stack=stack,
        redis=redis_server(by_kind[-1], settings.ORCHESTRA.redis_url),
        redis_url=settings.ORCHESTRA.redis_url,
        postgres=postgres_server(by_kind[0], postgres_url) if postgres_url else None,
        postgres_url=postgres_url,
        proxy=proxy,
        every_s=wanted.every,
        redis_away_s=60 if long else 5,
        postgres_away_s=30 if long else 4,
        frozen_s=40 if long else 0,
        rest_s=150 if long else 30,
        seed=seed,
        only=frozenset(filter(None, wanted.only.split(","))),
    )
    watch = Watch(suspended=nemesis.janitor_is_off)
    kills = _told_of_kills(nemesis, watch)
    watch.start()
    approvers = Approvers(people, Habits(hesitation_s=1.5), seed)
    pace_s = 0.7 * wanted.seconds / max(1, wanted.sessions)
    operators = Operators(
        people[0], [Job(n, wanted.approvals) for n in range(wanted.sessions)], pace_s=pace_s, seed=seed
    )
    with kills:
        nemesis.rage(time.monotonic() + wanted.seconds)
    healed = time.monotonic()
    approvers.hurry.set()
    operators.wait(time.monotonic() + QUIET_S)
    operators.done()
    _until_rest(time.monotonic() + QUIET_S)
    quiet_after = time.monotonic() - healed
    time.sleep(SETTLE_S)
    approvers.done()
    watch.done()
    evidence = Evidence(
        ledger=read_ledger(stack.folder / "cli"),
        history=approvers.history + operators.history,
        outages=nemesis.outages,
        orphans=list(watch.orphans.values()),
        settled=True,
    )
    found = violations(evidence)
    for violation in found[:50]:
        print(f"VIOLATION {violation}")
    print(table(approvers, operators, nemesis, watch, len(evidence.ledger), found))
    print(f"{'all at rest after the last fault':<42} {quiet_after:.0f} s", flush=True)
    return found


@contextlib.contextmanager
def _told_of_kills(nemesis: "Nemesis", watch: "Watch") -> Iterator[None]:
    """Whoever watches hears of every killed sessions worker at once."""
    kill = nemesis._kill_worker

    def kill_and_tell(name: str) -> bool:
        done = kill(name)
        if done and name == "sessions" and not (nemesis.postgres and nemesis._away("postgresql")):
            watch.killed(nemesis.worker_kills[-1])
        return done

    nemesis._kill_worker = kill_and_tell  # type: ignore[method-assign]
    yield


def _person(stack: Stack, username: str) -> "Rest":
    from tests.chaos.clients import Rest
    from tests.factories import make_user, token_for

    return Rest(stack.url, username, token_for(make_user(username, group="Administrator")))


def _until_rest(end: float) -> None:
    from sessions_app.models import OPEN_SESSION, AgentSession
    from tests.chaos.clients import patiently

    busy = AgentSession.objects.filter(status__in=OPEN_SESSION)
    while time.monotonic() < end and patiently(busy.exists):
        time.sleep(0.5)


def table(
    approvers: "Approvers",
    operators: "Operators",
    nemesis: "Nemesis",
    watch: "Watch",
    ran: int,
    found: "list[Violation]",
) -> str:
    """What happened, for a person: one line a figure."""
    from collections import Counter

    from approvals.models import Approval
    from sessions_app.models import AgentSession, Run, Turn

    sessions = Counter(AgentSession.objects.values_list("status", flat=True))
    turns = Counter(f"{status} {code}".strip() for status, code in Turn.objects.values_list("status", "failure_code"))
    runs = Counter(why or "live" for why in Run.objects.values_list("ended_why", flat=True))
    approvals = Counter(Approval.objects.values_list("status", flat=True))
    kinds = Counter(violation.invariant for violation in found)
    told = [deed for deed in approvers.history if deed.ok]
    refused = sum(deed.refused is not None for deed in approvers.history)
    doubtful = len(approvers.history) - len(told) - refused
    started = [deed for deed in operators.history if deed.what == "start"]
    alone, beside = _recoveries(watch, nemesis)
    rows = [
        ("sessions asked for, acknowledged", f"{len(started)}, {sum(deed.ok for deed in started)}"),
        ("sessions", _listed(sessions)),
        ("sessions ended or visibly waiting", f"{sum(sessions.values()) - kinds['I4']} of {sum(sessions.values())}"),
        ("turns", _listed(turns)),
        ("runs", _listed(runs)),
        ("approvals", _listed(approvals)),
        ("answers acknowledged, refused, in doubt", f"{len(told)}, {refused}, {doubtful}"),
        ("calls run", str(ran)),
        ("decisions lost", str(kinds["I6"] + kinds["I1"])),
        ("double or unapproved runs", str(kinds["I2"] + kinds["I10"] + kinds["I12"])),
        ("orphans after 10 s", str(kinds["I5"])),
        ("recovery after a killed sessions worker", _spread(alone)),
        ("the same while a server was away, too", _spread(beside)),
        ("faults", f"{sum(nemesis.injected.values())}: {_listed(nemesis.injected)}"),
        ("violations", _listed(kinds) or "none"),
    ]  # fmt: skip
    return "\n".join(f"{name:<42} {value}" for name, value in rows)


def _recoveries(watch: "Watch", nemesis: "Nemesis") -> tuple[list[float], list[float]]:
    """Seconds of those that had their servers all the while, and of those that had to wait for one to come back."""
    away = [(one.at, one.until + BACK_S) for one in nemesis.outages if one.part in ("redis", "postgresql")]
    away += nemesis.frozen
    alone, beside = list[float](), list[float]()
    for killed, recovered in watch.recoveries:
        waited = any(start < recovered and end > killed for start, end in away)
        (beside if waited else alone).append(recovered - killed)
    return alone, beside


def _listed(counts: "dict[str, int]") -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items(), key=lambda item: -item[1]))


def _spread(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{len(seconds)} measured"
    cuts = quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:.1f} s, p99 {cuts[98]:.1f} s, worst {max(seconds):.1f} s of {len(seconds)} runs"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
