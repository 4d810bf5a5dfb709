"""Reject and stop: the rejection that wins ends the turn that asked, and no other."""

import pytest
from django.http import HttpResponse
from django.test import Client

from approvals.commands import decide_approval
from approvals.models import Approval
from sessions_app.models import PermissionRequest, Turn
from tests.factories import make_approval, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db
S, T = Approval.Status, Turn.Status


def signed_in(group: str = "Administrator", name: str = "") -> Client:
    client = Client()
    client.force_login(make_user(name, group=group))
    return client


@pytest.fixture
def turn() -> Turn:
    return make_turn(make_session(status="waiting"), status=T.RUNNING)


def asked_by(turn: Turn) -> Approval:
    approval = make_approval(session=turn.session_id)
    PermissionRequest.objects.create(
        session=turn.session, turn=turn, approval=approval, request_id="r", tool_use_id="t"
    )
    return approval


def reject_and_stop(client: Client, approval: Approval, where: str = "decide", **headers: str) -> HttpResponse:
    form = {"seen_digest": approval.input_digest, "decision": "reject", "reason": "wrong branch", "next": "/?x=1"}
    answer: HttpResponse = client.post(f"/approvals/{approval.pk}/{where}/stop", form, headers=headers)
    approval.refresh_from_db()
    return answer


def is_told_to_stop(turn: Turn) -> bool:
    turn.refresh_from_db()
    return turn.interrupt_requested_at is not None


@pytest.mark.parametrize("where", ["decide", "answer"])
def test_it_rejects_with_the_reason_and_stops_the_turn(turn: Turn, where: str) -> None:
    approval, other = asked_by(turn), make_approval(session=turn.session_id)
    done = reject_and_stop(signed_in(name="anna"), approval, where)
    assert (done.status_code, done["Location"]) == (302, "/?x=1")
    assert (approval.status, approval.decided_by, approval.reason) == (S.REJECTED, "anna", "wrong branch")
    assert is_told_to_stop(turn)
    other.refresh_from_db()
    assert other.status == S.CANCELLED


@pytest.mark.parametrize(("where", "drawn"), [("decide", 'id="ask-'), ("answer", 'id="decision"')])
def test_a_script_gets_what_it_sent_the_form_from(turn: Turn, where: str, drawn: str) -> None:
    page = reject_and_stop(signed_in(name="anna"), asked_by(turn), where, **{"HX-Request": "true"}).content.decode()
    assert drawn in page
    assert "Rejected by anna, here" in page


@pytest.mark.parametrize("first", [S.APPROVED, S.REJECTED])
def test_a_rejection_that_comes_second_stops_nothing(turn: Turn, first: str) -> None:
    approval = asked_by(turn)
    decide_approval(approval_id=approval.pk, decision=first, by="boris", via="telegram")
    page = reject_and_stop(signed_in(name="anna"), approval, **{"HX-Request": "true"}).content.decode()
    assert "Already answered" in page
    assert (approval.status, approval.decided_by) == (first, "boris")
    assert not is_told_to_stop(turn)


def test_what_was_not_seen_is_neither_rejected_nor_stopped(turn: Turn) -> None:
    approval = asked_by(turn)
    signed_in().post(f"/approvals/{approval.pk}/decide/stop", {"seen_digest": "0" * 64})
    approval.refresh_from_db()
    assert approval.status == S.PENDING
    assert not is_told_to_stop(turn)


def test_sent_twice_it_leaves_the_next_turn_alone(turn: Turn) -> None:
    approval, anna = asked_by(turn), signed_in(name="anna")
    reject_and_stop(anna, approval)
    Turn.objects.filter(pk=turn.pk).update(status=T.INTERRUPTED)
    following = make_turn(turn.session, status=T.RUNNING)
    assert reject_and_stop(anna, approval).status_code == 302
    assert not is_told_to_stop(following)


@pytest.mark.parametrize("group", ["Approver", "Operator", "Viewer"])
def test_it_takes_both_rights(turn: Turn, group: str) -> None:
    approval, client = asked_by(turn), signed_in(group)
    assert reject_and_stop(client, approval).status_code == 403
    assert approval.status == S.PENDING
    assert not is_told_to_stop(turn)
    for path in (f"/approvals/{approval.pk}", f"/approvals/{approval.pk}/card"):
        assert b"stop the turn" not in client.get(path).content


def test_only_a_question_of_a_session_offers_it(turn: Turn) -> None:
    client, alone = signed_in(), make_approval(session=None)
    for path in ("", "/card"):
        assert b"Reject and stop the turn" in client.get(f"/approvals/{asked_by(turn).pk}{path}").content
        assert b"Reject and stop the turn" not in client.get(f"/approvals/{alone.pk}{path}").content
    assert reject_and_stop(client, alone).status_code == 404
    assert alone.status == S.PENDING
