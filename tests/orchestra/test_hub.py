"""The live hub, row by row of its table, with an independent client against a real web process."""

import json
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from approvals.commands import decide_approval
from approvals.deadlines import NEVER
from approvals.models import Approval
from orchestra.db import notify
from orchestra.realtime import hub
from sessions_app.commands import cancel_session
from sessions_app.models import Agent, AgentSession
from sessions_app.transcript import writer
from tests.factories import make_approval, make_session, make_user, token_for
from tests.hub import Client, client
from tests.web import Web

pytestmark = pytest.mark.django_db(transaction=True)


def say(session: Any, *texts: str) -> None:
    writer.append(session.pk, [writer.line("text", text=text) for text in texts])


def ask_people(**overrides: Any) -> Approval:
    """A question as the commands open it: rung for with its commit."""
    with transaction.atomic():
        approval = make_approval(**overrides)
        notify.send("approval", str(approval.pk))
    return approval


def test_one_signs_in_with_a_token_and_is_told_what_one_may_do(hub_web: Web) -> None:
    token = token_for(make_user("vera", group="Viewer"))
    with client(hub_web.port) as vera:
        assert vera.ask("ping")["code"] == "not_authenticated"
        assert vera.ask("subscribe", topic="approvals")["code"] == "not_authenticated"
        answer = vera.ask("authenticate", token=token)
        assert answer == {"type": "authenticated", "ref": 3, "user": "vera", "rights": ["read"]}
        assert vera.ask("ping") == {"type": "pong", "ref": 4}


def test_approvals_are_listed_and_every_change_is_told(ada: Client) -> None:
    first = make_approval(title="first")
    snapshot = ada.subscribe("approvals")
    assert [item["id"] for item in snapshot["items"]] == [str(first.pk)]
    assert snapshot["last_seq"] == 0
    second = ask_people(title="second")
    assert ada.event("approval.requested")["payload"]["id"] == str(second.pk)
    decide_approval(approval_id=first.pk, decision="rejected", by="bea", via="admin", reason="no")
    told = ada.event("approval.changed", id=str(first.pk))
    assert (told["seq"], told["payload"]["status"], told["payload"]["decided_by"]) == (2, "rejected", "bea")


def test_a_transcript_is_replayed_and_goes_on(ada: Client) -> None:
    session = make_session()
    say(session, *(str(number) for number in range(700)))
    topic = f"session:{session.pk}"
    snapshot = ada.subscribe(topic)
    assert (snapshot["session"]["id"], snapshot["last_seq"]) == (str(session.pk), 700)
    past = ada.events(topic, 700)
    say(session, "a", "b")
    seen = past + ada.events(topic, 2)
    assert [event["seq"] for event in seen] == list(range(1, 703))
    assert seen[-2]["payload"] == {"text": "a"}
    assert seen[-2]["kind"] == "text"


def test_text_is_told_as_it_is_said(hub_web: Web, ada: Client) -> None:
    session = make_session()
    ada.subscribe(f"session:{session.pk}")
    stop = threading.Event()

    def speak() -> None:  # again and again: what nobody has subscribed to yet is heard by nobody
        while not stop.wait(0.1):
            hub.publish(f"session:{session.pk}", {"type": "delta", "text": "once upon"})

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        delta = ada.until(lambda message: message["type"] == "delta")
    finally:
        stop.set()
        speaker.join()
    assert (delta["topic"], delta["text"][:9], "seq" in delta) == (f"session:{session.pk}", "once upon", False)


def test_one_decides_on_a_socket_and_the_second_is_told_who_was_first(hub_web: Web, ada: Client) -> None:
    approval = make_approval()
    bob_token = token_for(make_user("bob", group="Approver"))
    with client(hub_web.port, bob_token) as bob:
        assert bob.ask("decide", approval=str(approval.pk), approved=True, reason="fine") == {
            "type": "accepted", "ref": 2, "approval": str(approval.pk),
        }  # fmt: skip
    late = ada.ask("decide", approval=str(approval.pk), approved=False)
    assert (late["type"], late["code"], late["status"], late["decided_by"], late["decided_via"]) == (
        "error", "approval_closed", "approved", "bob", "websocket",
    )  # fmt: skip
    assert Approval.objects.get().reason == "fine"


def test_a_socket_takes_a_note_and_asks_again(hub_web: Web, ada: Client) -> None:
    approval, old = make_approval(), make_approval(status="rejected", decided_by="bea", decided_via="api")
    ada.subscribe("approvals")
    with client(hub_web.port, token_for(make_user("bob", group="Approver"))) as bob:
        said = bob.ask("decide", approval=str(approval.pk), approved=True, note="use staging")
        assert said["type"] == "accepted"
        told = ada.event("approval.changed", id=str(approval.pk), status="approved")
        assert told["payload"]["note"] == "use staging"
        fresh = bob.ask("reopen", approval=str(old.pk))["approval"]
        assert ada.event("approval.requested", id=fresh)["payload"]["reopened_from"] == str(old.pk)
        assert bob.ask("reopen", approval=str(old.pk))["approval"] == fresh
        refused = bob.ask("reopen", approval=str(approval.pk))
    assert (refused["type"], refused["code"], refused["status"]) == ("error", "not_reopenable", "approved")


def test_what_never_expires_has_no_seconds_left(ada: Client) -> None:
    approval = make_approval(expires_at=NEVER)
    (item,) = ada.subscribe("approvals")["items"]
    assert (item["id"], item["expires_at"], item["seconds_left"]) == (str(approval.pk), None, None)


def test_sessions_are_started_continued_and_cancelled(ada: Client) -> None:
    ada.subscribe("sessions")
    session = ada.ask("start_session", prompt="hello", agent="demo")["session"]
    assert ada.event("session.created")["payload"]["id"] == session
    busy = ada.ask("send_message", session=session, prompt="more")
    assert (busy["type"], busy["code"]) == ("error", "session_busy")
    assert ada.ask("cancel_session", session=session)["session"] == session
    assert ada.event("session.changed", id=session, status="cancelled")
    assert ada.ask("send_message", session=session, prompt="more")["code"] == "session_cancelled"


def test_a_topic_that_is_left_says_nothing_more(ada: Client) -> None:
    session = make_session(status="running")
    ada.subscribe("sessions")
    assert ada.ask("unsubscribe", topic="sessions")["type"] == "unsubscribed"
    ada.subscribe(f"session:{session.pk}")
    cancel_session(session_id=session.pk, by="x")
    assert {message["topic"] for message in [ada.hear(), *ada.silence(1)]} == {f"session:{session.pk}"}


def test_what_is_no_message_is_refused_and_the_socket_lives(ada: Client) -> None:
    for frame in ("", "x", "[]", "7", "{}", '{"type": 1}', '{"type": NaN}', "[" * 2000, "{" * 50, b"{}", b"\xff"):
        ada.socket.send(frame)
        assert ada.hear()["code"] == "invalid", frame
    assert ada.ask("dance")["code"] == "unknown_type"
    for ref in ({}, [], "x" * 201):
        ada.say("ping", ref=ref)
        assert ada.hear()["code"] == "invalid"
    ada.say("ping", ref="x")
    assert ada.hear() == {"type": "pong", "ref": "x"}


@pytest.mark.parametrize("topic", ["", "approval", "session:", "session", "sessions:1", "approvals:x", None, 5, {}])
def test_unknown_topics_are_refused(ada: Client, topic: Any) -> None:
    assert ada.ask("subscribe", topic=topic)["code"] in ("unknown_topic", "invalid")


@pytest.mark.parametrize("after", [-1, "1", 1.5, True, 2**63, [], {}])
def test_a_wrong_place_to_start_is_refused(ada: Client, after: Any) -> None:
    assert ada.ask("subscribe", topic=f"session:{make_session().pk}", after=after)["code"] == "invalid"


def test_unknown_things_are_unknown_and_wrong_fields_are_named(ada: Client) -> None:
    assert ada.ask("subscribe", topic="session:x")["code"] == "session_not_found"
    assert ada.ask("subscribe", topic=f"session:{uuid4()}")["code"] == "session_not_found"
    assert ada.ask("decide", approval=str(uuid4()), approved=True)["code"] == "approval_not_found"
    assert ada.ask("decide", approval="x", approved=True)["code"] == "approval_not_found"
    assert ada.ask("cancel_session", session="x")["code"] == "session_not_found"
    assert "prompt" in ada.ask("start_session")["fields"]
    assert "prompt" in ada.ask("start_session", prompt=" ")["fields"]
    assert "permission_mode" in ada.ask("start_session", prompt="x", permission_mode="bypassPermissions")["fields"]
    for wrong in ({}, {"approved": "yes"}, {"approved": None}, {"approved": True, "scope": "always"}):
        answer = ada.ask("decide", approval=str(make_approval().pk), **wrong)
        assert (answer["code"], answer["fields"].keys() <= {"approved", "scope"}) == ("invalid", True)
    assert not Approval.objects.exclude(status="pending").exists()


def test_an_answer_carries_everything_that_it_may_over_rest(ada: Client) -> None:
    approval = make_approval()
    wrong = ada.ask("decide", approval=str(approval.pk), approved=True, input_digest="f" * 64)
    assert (wrong["code"], wrong["input_digest"]) == ("digest_mismatch", approval.input_digest)
    edited = {"command": "ls", "n": 123456789012345678901234567890}
    more = {"updated_input": edited, "reason": "safer", "input_digest": approval.input_digest}
    assert ada.ask("decide", approval=str(approval.pk), approved=True, **more)["type"] == "accepted"
    approval.refresh_from_db()
    assert (json.loads(approval.updated_input), approval.reason, approval.decided_via) == (edited, "safer", "websocket")
    assert ada.ask("decide", approval=str(approval.pk), approved=True, **more)["type"] == "accepted", "said twice"


def test_long_and_strange_texts_arrive_as_they_are(ada: Client) -> None:
    session = make_session()
    ada.subscribe("approvals")
    ada.subscribe(f"session:{session.pk}")
    said = ["\ud800 lone", "\x00", "\u202e", "<script>", "x" * 3_000_000]
    exact = json.dumps({"command": "y" * 2_000_000, "n": 10**30})
    say(session, *said)
    ask_people(tool_input=exact)
    assert [event["payload"]["text"] for event in ada.events(f"session:{session.pk}", 5)] == said
    assert ada.event("approval.requested")["payload"]["tool_input"] == json.loads(exact)


def test_seconds_left_are_those_of_now(ada: Client) -> None:
    make_approval(expires_at=timezone.now() + timedelta(seconds=100))
    first = ada.subscribe("approvals")["items"][0]["seconds_left"]
    time.sleep(2.1)
    assert 0 < ada.subscribe("approvals")["items"][0]["seconds_left"] <= first - 2


def test_a_snapshot_holds_the_most_urgent_and_says_how_many_there_are(ada: Client) -> None:
    now = timezone.now()
    for number in range(203):
        make_approval(title=str(number), expires_at=now + timedelta(minutes=300 - number))
    snapshot = ada.subscribe("approvals")
    assert (snapshot["count"], len(snapshot["items"])) == (203, 200)
    assert [snapshot["items"][number]["title"] for number in (0, -1)] == ["202", "3"]


def test_diagnostics_tell_of_queues_and_agents(ada: Client) -> None:
    parts = {(item["part"], item.get("name")): item for item in ada.subscribe("diagnostics")["items"]}
    assert parts["queue", "sessions"] | {"queued": 0, "running": 0, "waiting": 0} == parts["queue", "sessions"]
    ask_people()
    assert ada.event("queue.changed", name="approvals")["payload"]["pending"] == 1
    Agent.objects.create(name="claude", host="here", status="ready")
    assert ada.event("agent.changed", host="here")["payload"]["status"] == "ready"


def test_a_session_that_waits_is_told_as_waiting_and_when_it_goes_on(ada: Client) -> None:
    session = make_session(status="running")
    ada.subscribe("sessions")
    AgentSession.objects.update(status="waiting")
    ask_people(session=session.pk)
    assert ada.event("session.changed", id=str(session.pk), status="waiting", parked=True)
    AgentSession.objects.update(status="running")
    say(session, "going on")
    assert ada.event("session.changed", id=str(session.pk), status="running")


def test_finished_sessions_leave_the_list_quietly(ada: Client) -> None:
    """The 50 newest stay; the others are left out of the next snapshot, which no patch announces."""
    old = make_session(status="running")
    for _ in range(60):
        make_session(status="completed")
    assert str(old.pk) in {item["id"] for item in ada.subscribe("sessions")["items"]}
    cancel_session(session_id=old.pk, by="x")
    assert ada.event("session.changed", id=str(old.pk), status="cancelled")
    snapshot = ada.subscribe("sessions")
    assert str(old.pk) not in {item["id"] for item in snapshot["items"]}
    assert len(snapshot["items"]) == 50
