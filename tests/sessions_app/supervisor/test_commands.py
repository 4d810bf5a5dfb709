"""Messages and claims that race, with real threads on a real database."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from sessions_app.commands import SessionRequest, cancel_session, interrupt_session, send_message, start_session
from sessions_app.errors import InvalidSession, NotYours, SessionBusy, SessionCancelled
from sessions_app.models import AgentSession, Run, Turn
from sessions_app.supervisor import leases
from tests.factories import make_session, make_turn

pytestmark = pytest.mark.django_db(transaction=True)
WORKER = leases.Worker(host="here", pid=1, started=1.0)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each of them returned or raised, started together."""
    barrier = threading.Barrier(len(works))
    outcomes: list[Any] = [None] * len(works)

    def run(index: int, work: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            outcomes[index] = work()
        except Exception as error:
            outcomes[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.parametrize("status", ["queued", "running", "waiting"])
def test_a_message_while_a_turn_is_open_is_refused(status: str) -> None:
    session = make_session(status=status)
    with pytest.raises(SessionBusy):
        send_message(session_id=session.pk, prompt="now", by="olga")
    assert not session.turns.exists()


def test_a_message_to_a_cancelled_dialog_is_refused_for_good() -> None:
    session = make_session(status="cancelled")
    with pytest.raises(SessionCancelled):
        send_message(session_id=session.pk, prompt="now", by="olga")


@pytest.mark.parametrize("prompt", ["", " \n", "a\0b", "\ud800", "x" * (1024 * 1024 + 1)])
def test_a_prompt_that_cannot_be_kept_is_refused_and_changes_nothing(prompt: str) -> None:
    session = make_session(status="completed")
    with pytest.raises(InvalidSession) as refused:
        send_message(session_id=session.pk, prompt=prompt, by="olga")
    assert list(refused.value.facts) == ["fields"]
    session.refresh_from_db()
    assert (session.status, session.turns.count()) == ("completed", 0)


def test_of_two_messages_at_the_same_instant_one_is_taken() -> None:
    for _ in range(5):
        session = make_session(status="completed")
        outcomes = at_once(*[lambda: send_message(session_id=session.pk, prompt="now", by="olga")] * 4)  # noqa: B023
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["SessionBusy"] * 3 + ["Turn"]
        assert session.turns.count() == 1


def test_of_eight_workers_that_claim_a_turn_one_gets_it() -> None:
    for _ in range(5):
        turn = make_turn()
        claims = [claim for claim in at_once(*[lambda: leases.claim_turn(turn.pk, WORKER)] * 8) if claim]  # noqa: B023
        assert [claim.fence for claim in claims] == [1]
        assert Run.objects.filter(session=turn.session_id).count() == 1


def test_a_cancel_against_a_claim_leaves_a_session_that_is_one_of_both() -> None:
    for _ in range(5):
        turn = make_turn()
        claim, _ = at_once(
            lambda: leases.claim_turn(turn.pk, WORKER),  # noqa: B023
            lambda: cancel_session(session_id=turn.session_id, by="olga"),  # noqa: B023
        )
        assert AgentSession.objects.get(pk=turn.session_id).status == "cancelled"
        assert Turn.objects.get(pk=turn.pk).status == "cancelled"
        assert Run.objects.filter(session=turn.session_id).count() == bool(claim)


def test_an_interrupt_of_a_turn_that_nobody_took_ends_it_there() -> None:
    turn = make_turn()
    session = interrupt_session(session_id=turn.session_id, by="olga")
    turn.refresh_from_db()
    assert (session.status, turn.status) == ("completed", "interrupted")
    assert leases.claim_turn(turn.pk, WORKER) is None


def test_cancelling_and_interrupting_again_changes_nothing() -> None:
    turn = make_turn()
    for _ in range(2):
        assert cancel_session(session_id=turn.session_id, by="olga").status == "cancelled"
        assert interrupt_session(session_id=turn.session_id, by="olga").status == "cancelled"


def test_allowing_tools_in_advance_needs_the_right_to_decide_ones_own_asks() -> None:
    for wanted in ({"allowed_tools": ["Bash"]}, {"permission_mode": "acceptEdits"}):
        with pytest.raises(NotYours):
            start_session(SessionRequest(prompt="go", **wanted), by="olga", may_allow=False)
    assert not AgentSession.objects.exists()
