"""People and programs that use Orchestra while it is being shot at, and write down what they were told.

Writes go through the doors: REST over real HTTP, and the commands themselves, as a terminal's or the admin's door
calls them. What there is to do is read from the rows, since what a list shows is not what is judged here.
"""

import contextlib
import heapq
import itertools
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid4

import requests
from django.db import DatabaseError, InterfaceError, connection

from approvals.commands import decide_approval
from approvals.errors import ApprovalClosed, ApprovalExpired
from approvals.models import Approval, DecisionSource
from orchestra.errors import OrchestraError
from sessions_app.models import OPEN_SESSION, AgentSession
from tests.chaos.checker import Attempt, Deed

ANSWER_S = 15.0  # how long a client waits for one answer
TRIES_S = 150.0  # how long it asks again; a key whose request died is free again after two minutes
T = TypeVar("T")


def patiently(work: Callable[[], T], patience_s: float = 120.0) -> T:
    """A short unit of database work, again while the database is away; gives the connection back each time."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return work()
        except (DatabaseError, InterfaceError):
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
        finally:
            with contextlib.suppress(DatabaseError, InterfaceError):
                connection.close()


@dataclass
class Rest:
    """One person at the REST door; sends again, under the same key, until there is a definite answer."""

    url: str
    username: str
    token: str
    local: threading.local = field(default_factory=threading.local)

    def post(self, path: str, body: dict[str, Any], deed: Deed) -> dict[str, Any] | None:
        """The answer of a success, None for a refusal or if none came; ``deed`` learns everything."""
        key, end = str(uuid4()), time.monotonic() + TRIES_S
        while time.monotonic() < end:
            at, status, said = time.time(), 0, {}
            with contextlib.suppress(requests.RequestException, ValueError):
                answer = self._session().post(
                    self.url + path, json=body, timeout=ANSWER_S,
                    headers={"Authorization": f"Token {self.token}", "Idempotency-Key": key},
                )  # fmt: skip
                status, said = answer.status_code, answer.json()
            deed.attempts.append(Attempt(at, time.time(), status))
            if 200 <= status < 300:
                deed.ok = True
                return dict(said)
            if status and status < 500 and status != 429 and said.get("code") != "request_in_progress":
                deed.refused = said
                return None
            time.sleep(0.4)
        return None

    def _session(self) -> requests.Session:
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
        session: requests.Session = self.local.session
        return session


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How people behave. ``hesitation_s`` is the mean time to an answer; longer than the hold budget parks."""

    hesitation_s: float = 2.0
    rejects: float = 0.15
    other_door: float = 0.2
    races: float = 0.1


class Approvers:
    """Two people who answer everything that opens, each at a moment and a door of their own."""

    def __init__(self, people: list[Rest], habits: Habits, seed: int) -> None:
        self.people, self.habits, self.random = people, habits, random.Random(seed)
        self.history: list[Deed] = []
        self.hurry = threading.Event()
        self.stop = threading.Event()
        self._seen: set[UUID] = set()
        self._due: list[tuple[float, int, UUID]] = []
        self._count = itertools.count()
        self._pool = ThreadPoolExecutor(8, "approver")
        self._thread = threading.Thread(target=self._run, name="approvers", daemon=True)
        self._thread.start()

    def done(self) -> None:
        """Nobody answers any more."""
        self.stop.set()
        self._thread.join(60)
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        pending = Approval.objects.filter(status=Approval.Status.PENDING)
        while not self.stop.wait(0.25):
            for approval_id in patiently(lambda: list(pending.values_list("pk", flat=True))):
                if approval_id not in self._seen:
                    self._seen.add(approval_id)
                    hesitates = self.random.expovariate(1 / self.habits.hesitation_s)
                    heapq.heappush(self._due, (time.monotonic() + hesitates, next(self._count), approval_id))
            while self._due and (self._due[0][0] <= time.monotonic() or self.hurry.is_set()):
                self._decide_soon(heapq.heappop(self._due)[2])

    def _decide_soon(self, approval_id: UUID) -> None:
        chance, habits = self.random.random, self.habits
        first, second = self.random.sample(self.people, 2)
        verdict = "rejected" if chance() < habits.rejects else "approved"
        other = "approved" if verdict == "rejected" else "rejected"
        door = DecisionSource.CLI if chance() < habits.other_door else DecisionSource.API
        self._pool.submit(self._decide, first, approval_id, verdict, door)
        if chance() < habits.races:  # two people, two doors, opposite answers, the same instant
            self._pool.submit(
                self._decide,
                second,
                approval_id,
                other,
                DecisionSource.CLI if door == DecisionSource.API else DecisionSource.API,
            )

    def _decide(self, who: Rest, approval_id: UUID, verdict: str, door: str) -> None:
        deed = Deed("decide", who.username, door, approval=str(approval_id), verdict=verdict)
        self.history.append(deed)
        self._tell(who, deed, approval_id, verdict, door)
        if not deed.ok and deed.refused is None:  # in doubt; if it is still open, somebody answers once more
            self._seen.discard(approval_id)

    def _tell(self, who: Rest, deed: Deed, approval_id: UUID, verdict: str, door: str) -> None:
        if door == DecisionSource.API:
            who.post(f"/api/approvals/{approval_id}/{'approve' if verdict == 'approved' else 'reject'}", {}, deed)
            return
        with contextlib.suppress(DatabaseError, InterfaceError):
            try:
                patiently(
                    lambda: decide_approval(approval_id=approval_id, decision=verdict, by=who.username, via=door), 0
                )
                deed.ok = True
            except (ApprovalClosed, ApprovalExpired) as error:
                deed.refused = dict(error.facts)
            except OrchestraError as error:
                deed.refused = {"detail": str(error)}


@dataclass(slots=True)
class Job:
    """A session that somebody wants to see through ``approvals`` gated calls."""

    number: int
    approvals: int
    session: str = ""
    turns: int = 0
    done: bool = False


class Operators:
    """Start sessions, one after the other over ``pace_s`` each, and send what is left again when a turn failed."""

    def __init__(self, who: Rest, jobs: list[Job], *, pace_s: float, seed: int) -> None:
        self.who, self.jobs, self.pace_s, self.random = who, jobs, pace_s, random.Random(seed)
        self.history: list[Deed] = []
        self.last_orders = threading.Event()
        self._pool = ThreadPoolExecutor(4, "operator")
        self._thread = threading.Thread(target=self._run, name="operators", daemon=True)
        self._thread.start()

    def wait(self, until: float) -> None:
        """Until every job is through, or that moment of the monotonic clock."""
        while time.monotonic() < until and self._thread.is_alive():
            time.sleep(0.2)

    def done(self) -> None:
        self.last_orders.set()
        self._thread.join(TRIES_S)
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        begun = time.monotonic()
        waiting = deque(self.jobs)
        while not self.last_orders.wait(0.5) and not all(job.done for job in self.jobs):
            while waiting and time.monotonic() >= begun + self.pace_s * waiting[0].number:
                self._pool.submit(self._begin, waiting.popleft())
            for job in self._at_rest():
                self._go_on(job)

    def _at_rest(self) -> list[Job]:
        under_way = {job.session: job for job in self.jobs if job.session and not job.done}
        rows = AgentSession.objects.filter(pk__in=list(under_way)).exclude(status__in=OPEN_SESSION)
        return [under_way[str(pk)] for pk in patiently(lambda: list(rows.values_list("pk", flat=True)))]

    def _begin(self, job: Job) -> None:
        deed = Deed("start", self.who.username)
        self.history.append(deed)
        short = {"approval_timeout_minutes": 0.1} if self.random.random() < 0.1 else {}
        said = self.who.post("/api/sessions", {"prompt": self._prompt(job, job.approvals), **short}, deed)
        if said is None:
            job.done = True
            return
        deed.session, job.turns = said["id"], 1
        job.session = deed.session

    def _go_on(self, job: Job) -> None:
        asked = Approval.objects.filter(session=job.session).exclude(status="cancelled")
        left = job.approvals - patiently(asked.count)
        if left <= 0 or job.turns > job.approvals:
            job.done = True
            return
        deed = Deed("message", self.who.username, session=job.session)
        self.history.append(deed)
        prompt = self._prompt(job, left)
        job.turns += 1
        self.who.post(f"/api/sessions/{job.session}/messages", {"prompt": prompt}, deed)

    def _prompt(self, job: Job, calls: int) -> str:
        """A scene with that many gated calls, in turns of a few, some at once, each with an input of its own."""
        chance, steps, number = self.random.random, [], 0
        calls = min(calls, 1 + int(chance() * calls)) if chance() < 0.3 else calls
        while number < calls:
            together = 2 if chance() < 0.15 and calls - number >= 2 else 1
            tools = [self._call(job, number + place) for place in range(together)]
            steps.append({"tools": tools, "together": True} if together == 2 else tools[0])
            number += together
            if chance() < 0.3:
                steps.append({"sleep": 0.5})
        return f"job {job.number} scenario:{json.dumps([*steps, {'text': 'done'}])}"

    def _call(self, job: Job, number: int) -> dict[str, Any]:
        name = f"j{job.number}t{job.turns}c{number}-{self.random.getrandbits(32):08x}"
        if self.random.random() < 0.5:
            return {"tool": "Write", "input": {"file_path": f"{name}.txt", "content": f"{name} é\n"}}
        return {"tool": "Bash", "input": {"command": f"echo {name}"}}
