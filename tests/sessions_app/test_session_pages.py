"""The page of a session: its events as rows, in pieces, and what can be done there."""

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals.models import AuditEntry, Rule
from console.sessions.rows import rows_of
from sessions_app.models import AgentSession, Event, PermissionRequest, Turn
from sessions_app.supervisor.permissions import _rule_still_counts
from sessions_app.transcript.ansi import pieces, plain
from tests.factories import make_approval, make_session, make_turn, make_user


def say(session: AgentSession, kind: str, **payload: Any) -> Event:
    """The next event of a session."""
    session.last_seq += 1
    session.save(update_fields=["last_seq"])
    return Event.objects.create(session=session, seq=session.last_seq, kind=kind, payload=json.dumps(payload))


def call(session: AgentSession, tool: str, name: str = "Bash", **more: Any) -> Event:
    return say(session, "tool_use", id=tool, name=name, input={"command": f"echo {tool}"}, **more)


def signed_in(group: str = "Operator") -> Client:
    client = Client()
    client.force_login(make_user(group=group))
    return client


def asked(turn: Turn, tool: str, **fields: Any) -> Any:
    approval = make_approval(session=turn.session_id, **fields)
    PermissionRequest.objects.create(
        session=turn.session, turn=turn, approval=approval, request_id="r", tool_use_id=tool
    )
    return approval


@pytest.fixture
def session(db: None) -> AgentSession:
    return make_turn(make_session(status="completed"), status="completed").session


def kinds(session: AgentSession, **options: Any) -> list[tuple[str, bool]]:
    events = list(session.events.order_by("seq"))
    rows = rows_of(session, events, make_user(group="Approver"), **options)
    return [(row.kind, row.update) for row in rows]


def test_a_call_its_question_and_its_result_are_one_row(session: AgentSession) -> None:
    say(session, "prompt", turn=1, text="Go")
    call(session, "t1")
    approval = asked(session.turns.get(), "t1", status="approved", decided_by="anna", decided_via="telegram")
    say(session, "approval", approval=str(approval.pk), status="approved", tool="Bash", tool_use_id="t1", by="anna")
    say(session, "tool_result", tool_use_id="t1", content="out", is_error=False)
    assert kinds(session) == [("person", False), ("tool", False)]
    page = signed_in().get(f"/sessions/{session.pk}").content.decode()
    assert "Approved by anna, on Telegram" in page
    assert "<samp>out</samp>" in page


def test_an_open_question_stands_where_it_was_asked(session: AgentSession) -> None:
    call(session, "t1")
    approval = asked(session.turns.get(), "t1")
    page = signed_in("Approver").get(f"/sessions/{session.pk}").content.decode()
    assert page.index('data-tool="t1"') < page.index(f'id="ask-{approval.pk}"')
    assert "ask-form" in page


def test_a_late_result_comes_as_an_update_of_the_row_of_its_call(session: AgentSession) -> None:
    call(session, "t1")
    first = session.last_seq
    say(session, "text", text="meanwhile")
    say(session, "tool_result", tool_use_id="t1", content="late", is_error=False)
    page = signed_in().get(f"/sessions/{session.pk}/rows?after={first}").content.decode()
    assert re.search(rf'data-key="e{first}" data-seq="{first}" data-update', page)
    assert "late" in page
    before = signed_in().get(f"/sessions/{session.pk}/rows?before={first + 1}").content.decode()
    assert "data-update" not in before
    assert "late" in before  # the call's own piece tells the result, wherever that stands


def test_pieces_follow_each_other_without_gap_or_repeat(session: AgentSession) -> None:
    for number in range(450):
        say(session, "text", text=f"word {number}.")
    client, seen, after = signed_in(), [], 0
    while True:
        page = client.get(f"/sessions/{session.pk}/rows?after={after}").content.decode()
        seen += [int(number) for number in re.findall(r"word (\d+)\.", page)]
        span = re.search(r'data-window data-first="(\d+)" data-last="(\d+)" data-newest="(\d+)"', page)
        assert span
        after = int(span[2])
        if after == int(span[3]):
            break
    assert seen == list(range(450))
    assert "word 449." in client.get(f"/sessions/{session.pk}").content.decode()


def test_the_page_costs_the_same_however_much_was_said(session: AgentSession) -> None:
    client = signed_in()

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"/sessions/{session.pk}").status_code == 200
        return len(queries)

    for number in range(5):
        call(session, f"a{number}")
    little = cost()
    for number in range(60):
        call(session, f"b{number}")
        asked(session.turns.get(), f"b{number}", status="approved", decided_by="anna", decided_via="api")
        say(session, "tool_result", tool_use_id=f"b{number}", content="x", is_error=False)
    assert cost() <= little


def test_what_a_rule_allowed_says_which(session: AgentSession) -> None:
    call(session, "t1")
    say(
        session,
        "approval",
        approval=None,
        status="approved",
        tool="Bash",
        tool_use_id="t1",
        by="policy",
        reason="pytest *",
    )
    say(session, "tool_result", tool_use_id="t1", content="", is_error=False)
    page = signed_in().get(f"/sessions/{session.pk}").content.decode()
    assert "Allowed by rule: <bdi>pytest *</bdi>" in page


def test_a_rule_is_revoked_by_who_decides_and_only_in_its_own_session(session: AgentSession) -> None:
    rule = Rule.objects.create(
        effect="allow", tool="Bash", pattern="make", scope="session", scope_value=str(session.pk)
    )
    where = f"/sessions/{session.pk}/rules/{rule.pk}/revoke"
    assert signed_in("Operator").post(where).status_code == 403
    approver = signed_in("Approver")
    elsewhere = make_session().pk
    approver.post(f"/sessions/{elsewhere}/rules/{rule.pk}/revoke")
    assert where in approver.get(f"/sessions/{session.pk}").content.decode()
    for _ in range(2):
        approver.post(where)
    assert "Rules in this session" not in approver.get(f"/sessions/{session.pk}").content.decode()
    rule.refresh_from_db()
    assert rule.ends_at is not None and not _rule_still_counts(rule)  # nor does a call that had read it before pass
    [entry] = AuditEntry.objects.filter(action="rule_revoked")
    assert entry.won and entry.reason == f"allow Bash(make) in session {session.pk}"


def test_a_rule_that_forbids_is_not_revoked_there(session: AgentSession) -> None:
    rule = Rule.objects.create(effect="deny", tool="Bash", scope="session", scope_value=str(session.pk))
    signed_in("Approver").post(f"/sessions/{session.pk}/rules/{rule.pk}/revoke")
    rule.refresh_from_db()
    assert rule.ends_at is None


def test_what_ran_as_edited_is_what_the_transcript_shows(session: AgentSession) -> None:
    call(session, "t1")
    edited = {"updated_input": '{"command": "wc -l notes"}', "status": "approved"}
    asked(session.turns.get(), "t1", decided_by="anna", decided_via="dashboard", **edited)
    say(session, "tool_result", tool_use_id="t1", content="7", is_error=False)
    page = signed_in().get(f"/sessions/{session.pk}").content.decode()
    assert "<bdi>wc -l notes</bdi>" in page and "echo t1" not in page
    assert "Approved with edits by anna" in page


def test_a_question_of_the_transcript_is_told_by_its_words(session: AgentSession) -> None:
    questions = [{"question": "Which one?", "header": "One", "options": [], "multiSelect": False}]
    say(session, "tool_use", id="t1", name="AskUserQuestion", input={"questions": questions})
    say(session, "tool_result", tool_use_id="t1", content="", is_error=False)
    assert "<bdi>Which one?</bdi>" in signed_in().get(f"/sessions/{session.pk}").content.decode()


def test_what_orchestra_has_no_words_for_is_folded(session: AgentSession) -> None:
    say(session, "raw", type="attachment", attachment={"type": "hook_success"})
    page = signed_in().get(f"/sessions/{session.pk}").content.decode()
    assert "<bdi>attachment, hook_success</bdi></code></summary><pre" in page
    assert "Unknown" not in page


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        ({"is_error": False, "terminal_reason": "completed"}, "Turn ended"),
        ({"is_error": False, "stop_reason": "tool_deferred"}, "Parked, no process waits"),
        ({"is_error": True, "terminal_reason": "aborted_tools", "errors": ["[ede_diagnostic]"]}, "Turn interrupted"),
        ({"is_error": True, "terminal_reason": "max_turns"}, "Turn failed: <bdi>max_turns</bdi>"),
    ],
    ids=["done", "parked", "interrupted", "failed"],
)
def test_the_end_of_a_process_is_told_as_what_it_is(session: AgentSession, last: Any, shown: str) -> None:
    say(session, "result", **last)
    page = signed_in().get(f"/sessions/{session.pk}").content.decode()
    assert shown in page and "ede_diagnostic" not in page
    assert ("bad-text" in page) is ("failed" in shown)


def test_a_long_output_shows_its_end_and_the_rest_when_asked(session: AgentSession) -> None:
    call(session, "t1")
    say(session, "tool_result", tool_use_id="t1", content="\n".join(f"row {n};" for n in range(100)), is_error=False)
    client = signed_in()
    page = client.get(f"/sessions/{session.pk}").content.decode()
    assert "row 99;" in page
    assert "row 5;" not in page
    assert "Show 60 more lines" in page
    assert "row 5;" in client.get(f"/sessions/{session.pk}/output/t1").content.decode()


def test_words_are_found_whatever_their_alphabet(session: AgentSession) -> None:
    say(session, "text", text="nothing")
    say(session, "text", text="Überraschung “quoted”")
    client = signed_in()
    assert "number 2" in client.get(f"/sessions/{session.pk}/search", {"q": "Überr"}).content.decode()
    assert "number 2" in client.get(f"/sessions/{session.pk}/search", {"q": "“quoted”"}).content.decode()
    assert "Nothing with these words" in client.get(f"/sessions/{session.pk}/search", {"q": "absent"}).content.decode()


@pytest.mark.parametrize("payload", ["not json", "[1]", '{"input": 5, "name": 7, "id": 3}', '{"text": 9}', "{}"])
@pytest.mark.parametrize("kind", [kind for kind, _ in Event.Kind.choices])
def test_whatever_stands_in_an_event_the_page_opens(session: AgentSession, kind: str, payload: str) -> None:
    session.last_seq = 1
    session.save()
    Event.objects.create(session=session, seq=1, kind=kind, payload=payload)
    assert signed_in().get(f"/sessions/{session.pk}").status_code == 200


def test_the_next_message_is_sent_and_a_busy_session_says_why_not(session: AgentSession) -> None:
    client = signed_in()
    address = f"/sessions/{session.pk}/act"
    assert client.post(address, {"act": "message", "prompt": "Go on"}).status_code == 302
    assert session.turns.count() == 2
    busy = client.post(address, {"act": "message", "prompt": "And on"}, headers={"HX-Request": "true"})
    assert "Not done. A turn of this session is still open." in busy.content.decode()
    client.post(address, {"act": "cancel"})
    session.refresh_from_db()
    assert session.status == "cancelled"
    assert "was cancelled" in client.get(f"/sessions/{session.pk}").content.decode()


@pytest.mark.parametrize("act", ["message", "interrupt", "cancel"])
def test_a_viewer_acts_on_nothing(session: AgentSession, act: str) -> None:
    viewer = signed_in("Viewer")
    assert viewer.post(f"/sessions/{session.pk}/act", {"act": act, "prompt": "x"}).status_code == 403
    page = viewer.get(f"/sessions/{session.pk}").content.decode()
    assert 'id="composer"' not in page
    assert "Cancel session" not in page


def test_an_unknown_session_is_not_found(db: None) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    for part in ("", "/rows", "/head", "/side", "/foot", "/search?q=x", "/output/t1"):
        assert signed_in().get(f"/sessions/{nobody}{part}").status_code in (200, 404), part
    assert signed_in().get(f"/sessions/{nobody}").status_code == 404


def test_escape_sequences_colour_and_do_nothing_else() -> None:
    shown = pieces("\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[10;10Hplain\x1b[38;5;12mrich\x1b[?25l\x1b(B\x1b")
    assert [(piece.text, piece.style) for piece in shown if piece.style] == [("red", "t-b t-bad")]
    assert "".join(piece.text for piece in shown) == "red plainrich"
    assert plain("10%\r50%\r100%\nnext\r\n") == "100%\nnext\n"
    assert pieces("\u202ex")[0].text == "\\u202ex"
    assert pieces("\x1b[" + "9" * 5000 + "m" + "x")[-1].text == "x"


def edited(session: AgentSession, tool: str, before: str, after: str, name: str = "Edit") -> None:
    given = {"file_path": "a.py", "old_string": before, "new_string": after, "content": after}
    say(session, "tool_use", id=tool, name=name, input=given)
    say(session, "tool_result", tool_use_id=tool, content="ok", is_error=False)


def test_every_change_can_be_seen_side_by_side_on_its_own(session: AgentSession) -> None:
    edited(session, "t1", "one\n", "1\n")
    edited(session, "t2", "two\n", "2\n")
    edited(session, "t3", "", "all of it is new\n", name="Write")
    call(session, "t4")
    approval = asked(
        session.turns.get(),
        "t4",
        tool_name="Edit",
        tool_input='{"old_string": "a", "new_string": "b", "file_path": "c"}',
    )
    page = signed_in("Approver").get(f"/sessions/{session.pk}").content.decode()
    chosen = re.findall(r'name="(diff-[^"]+)" value="(\w+)"( checked)?', page)
    of_each = [f"diff-e{seq}-1" for seq in (1, 3)] + [f"diff-{approval.pk}-1"]
    expected = [(name, *way) for name in of_each for way in (("unified", " checked"), ("split", ""))]
    assert chosen == expected, "one choice for each change, none for a new file"
    assert page.count('class="diff-scroll diff-split"') == len(of_each)
    assert '<td class="code was"><span class="sr">out: </span>one</td>' in page
