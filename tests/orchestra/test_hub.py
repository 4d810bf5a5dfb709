"""The live hub, row by row of its table, with an independent client against a real web process."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from approvals.commands import decide_approval
from approvals.models import Approval
from orchestra.realtime import hub
from sessions_app import transcript
from sessions_app.commands import cancel_session
from tests.factories import make_approval, make_session, make_user, token_for
from tests.hub import Client, client
from tests.web import Web, running

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def shared_web(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    """One web process for all: what a test leaves behind in it, another must be able to live with."""
    with django_db_blocker.unblock(), running(tmp_path_factory.mktemp("hub")) as web:
        yield web


@pytest.fixture
def web(transactional_db: None, shared_web: Web) -> Web:
    shared_web.token = token_for(make_user("ada-" + uuid4().hex[:6], group="Administrator"))
    return shared_web


@pytest.fixture
def ada(web: Web) -> Iterator[Client]:
    """An administrator's socket."""
    with client(web.port, web.token) as ada:
        yield ada


def say(session: Any, *texts: str) -> None:
    transcript.append(session.pk, [transcript.line("text", text=text) for text in texts])


def test_one_signs_in_with_a_token_and_is_told_what_one_may_do(web: Web) -> None:
    token = token_for(make_user("vera", group="Viewer"))
    with client(web.port) as vera:
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
    second = make_approval(title="second")
    assert ada.event("approval.requested")["payload"]["id"] == str(second.pk)
    decide_approval(approval_id=first.pk, verdict="rejected", by="bea", via="admin", reason="no")
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


def test_text_is_told_as_it_is_said(web: Web, ada: Client) -> None:
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


def test_one_decides_on_a_socket_and_the_second_is_told_who_was_first(web: Web, ada: Client) -> None:
    approval = make_approval()
    bob_token = token_for(make_user("bob", group="Approver"))
    with client(web.port, bob_token) as bob:
        assert bob.ask("decide", approval=str(approval.pk), approved=True, reason="fine") == {
            "type": "accepted", "ref": 2, "approval": str(approval.pk),
        }  # fmt: skip
    late = ada.ask("decide", approval=str(approval.pk), approved=False)
    assert (late["type"], late["code"], late["status"], late["decided_by"], late["decided_via"]) == (
        "error", "approval_closed", "approved", "bob", "websocket",
    )  # fmt: skip
    assert Approval.objects.get().reason == "fine"


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
