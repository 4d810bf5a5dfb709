import pytest

from approvals.models import APPROVAL_FLOW, Approval
from orchestra.db.transitions import Flow
from sessions_app.models import SESSION_FLOW, TURN_FLOW, AgentSession, Turn
from tests.factories import make_session

LIGHTS = Flow({"queued": frozenset({"running", "failed"}), "running": frozenset({"failed"})})


def of(session):
    return AgentSession.objects.filter(pk=session.pk)


def test_a_drawn_arrow_is_followed_once(db):
    session = make_session()
    assert LIGHTS.move(of(session), to="running", title="new") == 1
    assert LIGHTS.move(of(session), to="running") == 0
    session.refresh_from_db()
    assert (session.status, session.title) == ("running", "new")


def test_a_missing_arrow_changes_nothing(db):
    session = make_session(status="failed")
    assert LIGHTS.move(of(session), to="running", title="new") == 0
    session.refresh_from_db()
    assert (session.status, session.title) == ("failed", session.title)


def test_nothing_leads_to_an_unknown_status(db):
    make_session()
    assert LIGHTS.move(AgentSession.objects.all(), to="elsewhere") == 0


def test_only_the_given_rows_move(db):
    mine, other = make_session(), make_session()
    assert LIGHTS.move(of(mine), to="running") == 1
    other.refresh_from_db()
    assert other.status == "queued"


def test_several_old_statuses_may_lead_to_one(db):
    make_session()
    make_session(status="running")
    make_session(status="completed")
    assert LIGHTS.move(AgentSession.objects.all(), to="failed") == 2


@pytest.mark.parametrize(
    ("flow", "statuses"),
    [(APPROVAL_FLOW, Approval.Status), (SESSION_FLOW, AgentSession.Status), (TURN_FLOW, Turn.Status)],
)
def test_every_arrow_names_a_declared_status(flow, statuses):
    named = set(flow.transitions).union(*flow.transitions.values())
    assert named == {str(status) for status in statuses}


def test_a_closed_approval_never_moves_again():
    assert set(APPROVAL_FLOW.transitions) == {"pending"}
