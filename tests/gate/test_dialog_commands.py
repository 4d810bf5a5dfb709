"""``/clear`` and ``/model`` typed as a prompt, on the real CLI."""

import pytest

from sessions_app.commands import send_message
from sessions_app.models import Event
from tests.dialog import Dialog, Start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


def command(dialog: Dialog, prompt: str) -> str:
    turn = send_message(session_id=dialog.session.pk, prompt=prompt, by="anna")
    assert turn.status == "completed"
    return turn.result


def test_after_clear_the_model_hears_nothing_of_what_was_said_and_then_what_was_decided_to_be_new(start: Start) -> None:
    dialog = start(["the word is XYLOPHONE", "second"])
    dialog.end()
    first_cost = dialog.session.cost_usd
    command(dialog, "/clear")
    asked = len(start.api.state.requests)
    dialog.say("what was the word?")
    assert dialog.end().status == "completed"
    later = start.api.state.requests[asked:]
    assert later and "XYLOPHONE" not in str(later)
    asked = len(start.api.state.requests)
    dialog.say("and now?")
    assert dialog.end().status == "completed"
    assert "what was the word?" in str(start.api.state.requests[asked:]), "the new conversation goes on"
    assert dialog.session.cost_usd > first_cost
    assert Event.objects.filter(session=dialog.session, kind="status", payload__contains="cleared").exists()


def test_a_model_that_was_chosen_is_asked_from_then_on_as_was_decided(start: Start) -> None:
    dialog = start(["first", "second", "third"])
    dialog.end()
    usual = start.api.state.requests[-1]["body"]["model"]
    command(dialog, "/model claude-haiku-4-5")
    dialog.say("go on")
    assert dialog.end().status == "completed"
    assert start.api.state.requests[-1]["body"]["model"] == "claude-haiku-4-5" != usual
    command(dialog, "/model default")
    dialog.say("go on")
    assert dialog.end().status == "completed"
    assert start.api.state.requests[-1]["body"]["model"] == usual
