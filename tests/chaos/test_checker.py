"""What the checker excuses, and no more."""

from django.db.models.functions import Now

from sessions_app.models import PermissionRequest, Turn
from tests.chaos.world import World


def calls_never_told(world: World) -> int:
    return sum(violation.invariant == "I9" for violation in world.judge())


def test_an_answer_may_wait_for_another_call_of_the_same_parked_turn_alone(world: World) -> None:
    world.stage.approvals(hold_s=0.3)
    world.stage.scene([{"tools": [{"tool": "Bash", "input": {"command": f"echo {n}"}} for n in range(2)]}])
    session = world.stage.session()
    assert world.take(session).done() == "parked"
    first, _ = world.stage.asked(session, 2)
    world.decide(first, "approved")
    assert calls_never_told(world) == 0
    earlier = Turn.objects.create(session=session, number=9, prompt="", status="completed", finished_at=Now())
    PermissionRequest.objects.filter(approval=first).update(turn=earlier)
    assert calls_never_told(world) == 1
