"""Short stories in which a planted bug must show. Each tells what it saw itself; the checker judges the rows."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from approvals import metrics
from approvals.commands import consume_approval, decide_approval, expire_due_approvals
from approvals.models import Approval
from approvals.policy.digest import input_digest
from sessions_app.errors import StaleFence
from sessions_app.models import AgentSession, Run
from sessions_app.supervisor import leases, orphan_reaper, permissions
from sessions_app.supervisor.cli.protocol import ToolRequest
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.outcomes import Outcome
from sessions_app.supervisor.permissions import surroundings
from sessions_app.transcript import writer
from tests.chaos.failpoints import failing
from tests.chaos.world import World
from tests.sessions_app.supervisor.stage import eventually

Scene = Callable[[World], list[str]]
PATIENCE_S = 6.0  # a live answer takes milliseconds, a swept one less than two seconds


def ask(world: World, **overrides: Any) -> Approval:
    """A question without an agent behind it, as another program asks."""
    from approvals.commands import ApprovalRequest, request_approval

    return Approval.objects.get(pk=request_approval(ApprovalRequest(title="may I?", requested_by="olga", **overrides)))


def two_doors(world: World) -> list[str]:
    approval = ask(world)
    world.decide(approval, "approved", by="anna", via="api")
    world.decide(approval, "rejected", by="boris", via="admin")
    metrics.count_closed()
    return []


def commit_fails(world: World) -> list[str]:
    approval = ask(world)
    with failing("decide", "before", times=9):
        world.decide(approval, "approved")
    return []


def past_the_deadline(world: World) -> list[str]:
    for by in ("anna", ""):
        approval = ask(world)
        past = timezone.now() - timedelta(seconds=1)
        Approval.objects.filter(pk=approval.pk).update(expires_at=past, created_at=past - timedelta(minutes=1))
        if by:
            world.decide(approval, "approved", by=by)
    expire_due_approvals(batch=10)
    return []


def early_sweep(world: World) -> list[str]:
    ask(world)
    expire_due_approvals(batch=10)
    return []


STEPS: list[dict[str, Any]] = [
    {"tool": "Write", "input": {"file_path": "one.txt", "content": "1"}},
    {"tool": "Bash", "input": {"command": "echo two"}},
    {"text": "done"},
]


def held(world: World) -> list[str]:
    world.stage.approvals(hold_s=60)
    world.verdict = lambda approval: "approved" if approval.tool_name == "Write" else "rejected"
    return _played(world, STEPS)


def parked(world: World) -> list[str]:
    """Nothing goes on while the question is open; after the answer it does, once."""
    world.stage.approvals(hold_s=0)
    world.stage.scene(STEPS[:1])
    session = world.stage.session()
    seen = [] if world.take(session).done() == "parked" else ["it was not parked"]
    if leases.resume_answered(session.pk):
        seen.append("an unanswered session was resumed")
    for approval in world.stage.asked(session):
        world.decide(approval, "approved")
    if sum(leases.resume_answered(session.pk) for _ in range(3)) > 0:  # the ring of the answer has done it
        seen.append("it was resumed more than once")
    return seen if world.drive(session, PATIENCE_S) else [*seen, "it never goes on"]


def parked_and_answered(world: World) -> list[str]:
    """The answer comes when there is no process any more."""
    world.stage.approvals(hold_s=0)
    world.stage.scene(STEPS[:1])
    session = world.stage.session()
    seen = [] if world.take(session).done() == "parked" else ["it was not parked"]
    return seen if world.drive(session, PATIENCE_S) else [*seen, "it never goes on"]


def escapes(world: World) -> list[str]:
    return _played(world, [{"spawn": "exec sleep 60", "setsid": True}, {"text": "done"}])


def dies_asking(world: World) -> list[str]:
    world.stage.scene(STEPS[:1])
    session = world.stage.session()
    taken = world.take(session)
    world.stage.asked(session)
    orphan_reaper.kill_run(Run.objects.get(session=session).pk)
    taken.done()
    return []


def consume_fails(world: World) -> list[str]:
    world.stage.approvals(hold_s=60)
    with failing("consume", "before"):
        return _played(world, STEPS[:1])


def _played(world: World, steps: list[dict[str, Any]]) -> list[str]:
    world.stage.scene(steps)
    session = world.stage.session()
    return [] if world.drive(session, PATIENCE_S) else [f"it stays {session.status}"]


def grant(world: World) -> list[str]:
    seen = []
    for spend in ("twice", "for another input"):
        what = {"tool_name": "Bash", "tool_input": json.dumps({"command": spend}), "working_directory": "/tmp"}
        approval = ask(world, **what, input_digest=input_digest(**what, session=None))
        world.decide(approval, "approved")
        digests = [approval.input_digest] * 2 if spend == "twice" else ["0" * 64]
        allowed = 1 if spend == "twice" else 0
        if sum(consume_approval(approval_id=approval.pk, digest=digest) is not None for digest in digests) > allowed:
            seen.append(f"a grant was spent {spend}")
    return seen


def stale(world: World) -> list[str]:
    """A supervisor that was given up for lost while it was frozen; nothing it does on waking up may count."""
    world.stage.scene(STEPS)
    session = world.stage.session()
    old = _claimed(session)
    asked = permissions.request_permission(old, call("one"), plan="", surroundings=surroundings())
    approval_id = asked.approval_id
    assert approval_id
    leases.reclaim(Run.objects.get(pk=old.run_id), why="frozen", dead=True)
    decide_approval(approval_id=approval_id, decision="approved", by="anna", via="api")
    seen = []
    with _refused() as refusal:
        writer.append(session.pk, [writer.line("text", text="late")], fence=old.fence)
    if not refusal:
        seen.append("a lost supervisor wrote before anybody took its session over")
    new = _claimed(session)
    deny_all = {"tool_name": "CronCreate", "tool_input": "{}"}
    for what, act in (
        (
            "was told that it may run",
            lambda: permissions.outcome_from_row(old, call("one"), approval_id),
        ),
        ("asked", lambda: permissions.request_permission(old, call("two"), plan="", surroundings=surroundings())),
        (
            "had policy answer",
            lambda: permissions.request_permission(old, call("3", **deny_all), plan="", surroundings=surroundings()),
        ),
        ("wrote", lambda: writer.append(session.pk, [writer.line("text", text="hm")], fence=old.fence)),
        ("finished", lambda: _finished(old)),
    ):
        with _refused() as refusal:
            act()
        if not refusal:
            seen.append(f"a lost supervisor {what}")
    leases.finish_run(new, Outcome(status="completed"), exit_code=0)
    return seen


def _finished(claim: Claim) -> None:
    before = AgentSession.objects.get(pk=claim.session_id).status
    leases.finish_run(claim, Outcome(status="completed"), exit_code=0)
    if AgentSession.objects.get(pk=claim.session_id).status == before:
        raise StaleFence("nothing changed")


@contextmanager
def _refused() -> Iterator[list[str]]:
    refusal: list[str] = []
    try:
        with transaction.atomic():
            yield refusal
    except StaleFence:
        refusal.append("stale")


def _claimed(session: AgentSession) -> Claim:
    AgentSession.objects.filter(pk=session.pk, status="waiting").update(status="queued")
    turn = session.turns.get()
    claim = leases.claim_turn(turn.pk, leases.Worker(host="elsewhere", pid=1, started=0.0))
    assert claim
    return claim


def call(name: str, **more: Any) -> ToolRequest:
    given: dict[str, Any] = {
        "request_id": str(uuid4()), "tool_name": "Bash", "tool_input": f'{{"command":"echo {name}"}}',
        "tool_use_id": f"toolu_{name}", "agent_id": "", "is_callback": True,
    }  # fmt: skip
    return ToolRequest(**given | more)


def redelivered(world: World) -> list[str]:
    """The same message again, while the turn runs and after it ended."""
    world.stage.scene(STEPS[:1])
    session = world.stage.session()
    turn = session.turns.get()
    taken = world.take(session)
    [approval] = world.stage.asked(session)
    AgentSession.objects.filter(pk=session.pk).update(status="running")  # as it is between two questions
    other = leases.Worker(host="elsewhere", pid=1, started=0.0)
    seen = ["two workers have it"] if leases.claim_turn(turn.pk, other) else []
    if seen:
        orphan_reaper.kill_run(Run.objects.get(session=session, fence=1).pk)
        return seen
    world.decide(approval, "approved")
    taken.done()
    time.sleep(0.05)
    if leases.claim_turn(turn.pk, other):
        seen.append("a finished turn was taken again")
    return seen


def killed_after_the_repeat(world: World) -> list[str]:
    """A parked call is repeated and answered, the next one is asked, then the worker dies."""
    world.stage.approvals(hold_s=0)
    world.stage.scene(STEPS)
    session = world.stage.session()
    world.take(session).done()
    [first] = world.stage.asked(session)
    world.stage.approvals(hold_s=60)
    world.decide(first, "approved")
    taken = world.take(session)
    eventually(lambda: Approval.objects.filter(session=session.pk).count() == 2, "the second call asks, held")
    run = Run.objects.get(session=session, ended_at__isnull=True)
    leases.reclaim(run, why="the worker was killed", dead=True)
    orphan_reaper.kill_run(run.pk)
    taken.done()
    return [] if world.drive(session, PATIENCE_S) else ["it waits for a call that nobody will repeat"]


SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        *(
            two_doors,
            commit_fails,
            past_the_deadline,
            early_sweep,
            held,
            parked,
            parked_and_answered,
            escapes,
            dies_asking,
        ),
        *(consume_fails, grant, stale, redelivered, killed_after_the_repeat),
    )
}
