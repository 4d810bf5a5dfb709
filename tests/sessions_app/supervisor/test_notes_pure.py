"""Notes wait for the result of their own call, and are given once."""

import json
from uuid import uuid4

from sessions_app.supervisor.cli import protocol
from sessions_app.supervisor.cli.protocol import ToolEnded
from sessions_app.supervisor.notes import Notes

ENDED = ToolEnded(
    request_id="r1", tool_use_id="t1", tool_name="Bash", tool_input="{}", event="PostToolUseFailure"
)  # fmt: skip


def test_a_note_is_given_once_and_with_its_own_call_alone() -> None:
    notes, first, second = Notes(), uuid4(), uuid4()
    notes.add("t1", "one", first)
    notes.add("t2", "two", second)
    assert notes.take("t3") == ("", ())
    assert notes.take("t2") == ("two", (second,))
    assert notes.take("t2") == ("", ())
    assert notes.take("t1") == ("one", (first,))


def test_what_an_earlier_process_left_goes_with_the_next_result() -> None:
    old, own = uuid4(), uuid4()
    notes = Notes(left=[(old, "before")])
    notes.add("t1", "now", own)
    assert notes.take("t1") == ("before\n\nnow", (old, own))
    assert notes.take("t1") == ("", ())


def test_an_answer_to_a_report_carries_the_note_under_the_event_it_answers() -> None:
    plain, noted = (json.loads(protocol.acknowledge(ENDED, note))["response"] for note in ("", "a\n\u2028é"))
    assert (plain["request_id"], plain["response"]) == ("r1", {})
    assert noted["response"]["hookSpecificOutput"] == {
        "hookEventName": "PostToolUseFailure", "additionalContext": "a\n\u2028é",
    }  # fmt: skip
    assert protocol.acknowledge(ENDED, "a\n\u2028b").count(b"\n") == 1
