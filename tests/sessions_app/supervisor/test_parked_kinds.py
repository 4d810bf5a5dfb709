"""Questions, plans and very big inputs: asked, parked, answered at any door, and taken up with just that answer."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from approvals.models import Approval
from sessions_app.models import AgentSession, Run
from tests.factories import client_of, make_user
from tests.sessions_app.supervisor.stage import Stage, events, eventually

QUESTION = {"question": "Which colour?", "options": ["Red", "Blue"]}
BIG = 5_000_000  # characters

DecisionSource = Callable[[Approval, str], None]


def over_rest(approval: Approval, answer: str) -> None:
    body = {"answers": {"Which colour?": answer}} if answer else {}
    said = client_of(make_user(group="Approver")).post(f"/api/approvals/{approval.pk}/approve", body, format="json")
    assert said.status_code == 200, said.content


def in_admin(approval: Approval, answer: str) -> None:
    browser = Client()
    browser.force_login(make_user(group="Approver", is_staff=True))
    form = {"decision": "approve", "seen_digest": approval.input_digest, "answer_0": answer}
    said = browser.post(reverse("admin:approvals_approval_decide", args=[approval.pk]), form)
    assert said.status_code == 302, said.content


def in_terminal(approval: Approval, answer: str) -> None:
    words = ["--answer", answer] if answer else []
    call_command("approvals", "approve", str(approval.pk), *words, stdout=StringIO())


DOORS = [over_rest, in_admin, in_terminal]


@pytest.mark.parametrize("door", DOORS)
def test_a_parked_question_is_answered_at_every_door_and_the_agent_hears_just_that(
    stage: Stage, door: DecisionSource
) -> None:
    session = parked(stage, [QUESTION, {"text": "{{last_tool_result}}"}])
    [approval] = stage.asked(session)
    assert approval.kind == "question"
    door(approval, "Blue")
    assert "Blue" in taken_up(stage, session) and "Red" not in taken_up(stage, session)


@pytest.mark.parametrize("door", DOORS)
def test_a_parked_plan_is_approved_at_every_door(stage: Stage, door: DecisionSource) -> None:
    session = parked(stage, [{"plan": "1. look\n2. leap"}, {"text": "{{last_tool_result}}"}], permission_mode="plan")
    [approval] = stage.asked(session)
    assert (approval.kind, approval.body) == ("plan", "1. look\n2. leap")
    door(approval, "")
    assert "approved exiting plan mode" in taken_up(stage, session)


def test_a_parked_question_that_is_rejected_and_stopped_runs_nothing_and_leaves_the_dialog(stage: Stage) -> None:
    session = parked(stage, [{"tool": "Bash", "input": {"command": "echo ran"}}, {"text": "went on"}])
    [approval] = stage.asked(session)
    person = Client()
    person.force_login(make_user("anna", group="Administrator"))
    form = {"seen_digest": approval.input_digest, "reason": "wrong branch"}
    assert person.post(f"/approvals/{approval.pk}/decide/stop", form).status_code == 302
    assert stage.take(session).done() == "interrupted"
    session.refresh_from_db()
    assert (session.status, [turn.status for turn in session.turns.all()]) == ("completed", ["interrupted"])
    assert not stage.ran
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by, approval.reason) == ("rejected", "anna", "wrong branch")


def test_an_input_of_five_million_characters_is_held_asked_and_runs_whole(stage: Stage) -> None:
    stage.approvals(hold_s=0.3)
    stage.scene([{"tool": "Write", "input": {"file_path": "a.txt", "content": ""}, "fill": BIG}])
    session = stage.session()
    taken = stage.take(session)
    [approval] = stage.asked(session)
    assert len(json.loads(approval.tool_input)["content"]) == BIG
    taken.join(3)
    assert taken.is_alive(), "the CLI would not find so large a call again"
    shown = client_of(make_user(group="Approver")).get(f"/api/approvals/{approval.pk}").json()
    assert len(shown["tool_input"]["content"]) == BIG
    stage.decide(approval, seen_digest=shown["input_digest"])
    assert taken.done() == "completed"
    [ran] = stage.ran
    assert bool(json.loads(ran["input"]) == json.loads(approval.tool_input)), "the input that ran is another one"
    session.refresh_from_db()
    assert (stage.root / session.working_directory / "a.txt").stat().st_size == BIG


def parked(stage: Stage, steps: list[dict[str, Any]], **wanted: Any) -> AgentSession:
    """A session whose process is gone, with its question open."""
    stage.approvals(hold_s=0.3)
    stage.scene(steps)
    session = stage.session(**wanted)
    assert stage.take(session).done() == "parked"
    assert not Run.objects.filter(session=session, ended_at=None).exists()
    return session


def taken_up(stage: Stage, session: AgentSession) -> str:
    """What the agent said after it heard the answer, in another process."""
    session.refresh_from_db()
    if session.status != "completed":
        eventually(lambda: AgentSession.objects.get(pk=session.pk).status == "queued", "the answer queues it")
        assert stage.take(session).done() == "completed"
    assert Approval.objects.filter(session=session.pk).count() == 1
    return str(events(session, "text")[-1]["text"])
