"""Guidance with an approval reaches the model of the real CLI once, together with what the call returned."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals.commands import mark_note_delivered
from approvals.models import Approval, AuditEntry
from sessions_app import notes
from sessions_app.models import Event, PermissionRequest
from sessions_app.supervisor.leases import Worker, claim_turn
from tests.dialog import Start
from tests.factories import make_approval, make_turn
from tests.sessions_app.test_real_cli import COLOUR, bash, write

pytestmark = pytest.mark.django_db(transaction=True)

NOTE = "yes, but use the staging host"
SAID = f"boris approved this call and says: {NOTE}"
PARKS = timedelta(0)
HOLDS = timedelta(minutes=5)

CALLS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "command": (bash("echo hi"), {}, {}),
    "command that fails": (bash("exit 3"), {}, {}),
    "file": (write("a.txt", "x"), {}, {}),
    "edited": (bash("echo hi"), {"updated_input": '{"command": "echo edited"}'}, {}),
    "question": (
        {"tool": "AskUserQuestion", "input": {"questions": [COLOUR]}}, {"answers": '{"Which?": "Blue"}'}, {},
    ),
    "plan": ({"tool": "ExitPlanMode", "input": {"plan": "1. look"}}, {}, {"permission_mode": "plan"}),
}  # fmt: skip


def times_told(start: Start, text: str) -> int:
    """In how many messages of the last conversation that the model saw ``text`` stands."""
    last = start.api.state.requests[-1]["body"]["messages"]
    return sum(json.dumps(message, ensure_ascii=False).count(text) for message in last)


@pytest.mark.parametrize("hold", [HOLDS, PARKS], ids=["live", "parked"])
@pytest.mark.parametrize("name", CALLS)
def test_a_note_is_told_once_with_the_result(start: Start, settings: Settings, name: str, hold: timedelta) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=hold)
    call, answer, wanted = CALLS[name]
    dialog = start([call, bash("echo second"), "done"], **wanted)
    if hold == PARKS:
        dialog.end()
    dialog.answer("approved", note=NOTE, **answer)
    if hold == PARKS:
        dialog.run()
    if hold == PARKS:
        dialog.end()
    dialog.answer("approved", nth=2)
    if hold == PARKS:
        dialog.run()
    assert dialog.end().status == "completed"
    assert times_told(start, SAID) == 1
    approval = Approval.objects.order_by("created_at")[0]
    assert (approval.note, approval.note_delivered_at is not None) == (NOTE, True)
    assert NOTE in AuditEntry.objects.get(approval=approval, action="approved").reason
    told = [json.loads(event.payload) for event in Event.objects.filter(kind="approval")]
    assert [(one["by"], one["note"]) for one in told if "note" in one] == [("boris", NOTE)]
    assert [one["approval"] for one in told if one["status"] == "note_delivered"] == [str(approval.pk)]


def test_each_of_two_calls_has_its_own_note(start: Start) -> None:
    calls = [{"type": "tool_use", "name": "Read", "id": f"t{n}", "input": {"file_path": f"/etc/{name}"}}
             for n, name in enumerate(("hostname", "passwd"))]  # fmt: skip
    dialog = start([{"blocks": calls}, "done"])
    dialog.ask(2)
    for n in (1, 2):
        dialog.answer("approved", nth=n, note=f"note for {dialog.ask(n).subject[-2:]}")
    assert dialog.end().status == "completed"
    for n in (0, 1):
        assert times_told(start, f"note for t{n}") == 1


def test_what_a_rejection_says_is_no_note(start: Start) -> None:
    dialog = start([bash("touch no.txt"), "done"])
    dialog.answer("rejected", reason="not here")
    dialog.end()
    assert times_told(start, "says:") == 0
    assert Approval.objects.get().note == ""


def test_a_note_that_a_lost_process_did_not_give_is_given_by_the_next() -> None:
    turn = make_turn()
    fields = {"session": turn.session_id, "status": "approved", "decided_by": "boris", "decided_via": "api"}
    now = timezone.now()
    lost = make_approval(**fields, note="use staging", consumed_at=now, title="Bash: make")
    given = make_approval(**fields, note="told", consumed_at=now, note_delivered_at=now)
    unspent = make_approval(**fields, note="not run")
    for number, approval in enumerate((lost, given, unspent)):
        PermissionRequest.objects.create(
            session=turn.session, turn=turn, approval=approval, request_id=f"r{number}", tool_use_id=f"t{number}"
        )
    claim = claim_turn(turn.pk, Worker(host="here", pid=1, started=1.0))
    assert claim is not None
    said = "boris approved an earlier call (Bash: make) and says: use staging"
    assert notes.undelivered_notes(claim) == [(lost.pk, said)]
    assert (mark_note_delivered([lost.pk]), mark_note_delivered([lost.pk])) == (1, 0)
    assert notes.undelivered_notes(claim) == []
