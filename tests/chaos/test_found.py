"""What the nemesis found once, told as short stories, so that it stays found."""

import threading
import time

from approvals.models import Approval
from sessions_app.agents.selftest import run_selftest
from sessions_app.commands import send_message
from sessions_app.models import Run, Turn
from sessions_app.supervisor import leases, orphan_reaper
from tests.chaos.world import World
from tests.fakes.real_cli import real_cli_path
from tests.sessions_app.supervisor.stage import eventually, gone


def test_a_process_killed_after_it_repeated_its_parked_call_is_not_expected_to_repeat_it_again(world: World) -> None:
    world.stage.approvals(hold_s=0)
    world.stage.scene([{"tool": "Bash", "input": {"command": f"echo {n}"}} for n in range(2)])
    session = world.stage.session()
    assert world.take(session).done() == "parked"
    [first] = world.stage.asked(session)
    world.stage.approvals(hold_s=60)
    world.decide(first, "approved")
    taken = world.take(session)
    eventually(lambda: Approval.objects.filter(session=session.pk).count() == 2, "the second call asks, held")
    run = Run.objects.get(session=session, ended_at__isnull=True)
    assert leases.reclaim(run, why="the worker was killed", dead=True)
    orphan_reaper.kill_run(run.pk)
    taken.done()
    eventually(lambda: gone(run.pid or 0), "the process is gone")
    assert world.drive(session), "it waits for a call that nobody will repeat"
    assert world.judge() == []
    assert [entry["input"] for entry in world.stage.ran] == ['{"command": "echo 0"}', '{"command": "echo 1"}']


def test_a_message_whose_process_is_killed_before_an_older_parked_call_was_repeated_is_not_lost(world: World) -> None:
    world.stage.approvals(hold_s=0, timeout_s=0.3)
    world.stage.scene([{"tool": "Bash", "input": {"command": "echo old"}}], [{"text": "you said {{prompt}}"}])
    session = world.stage.session()
    assert world.take(session).done() == "parked"
    world.verdict = lambda _: "never"
    world.decide = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    assert world.drive(session)
    turn = send_message(session_id=session.pk, prompt="hello again", by="olga")
    claim = leases.claim_turn(turn.pk, leases.Worker(host="elsewhere", pid=1, started=0.0))
    assert claim
    assert leases.reclaim(Run.objects.get(pk=claim.run_id), why="the worker was killed", dead=True)
    assert world.drive(session)
    assert Turn.objects.get(pk=turn.pk).result == "you said hello again"
    assert world.stage.ran == []
    assert world.judge() == []


def test_the_janitor_leaves_a_cli_alone_that_is_just_being_tested(world: World) -> None:
    world.stage.agents(cli_path=str(real_cli_path()))
    verdicts: list[str] = []
    test = threading.Thread(target=lambda: verdicts.append(run_selftest()))
    test.start()
    while test.is_alive():
        orphan_reaper.kill_leftovers()
        time.sleep(0.2)
    assert verdicts == [""]
