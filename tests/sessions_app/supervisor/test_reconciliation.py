"""What the CLI reports as done is compared with what the run allowed."""

import json
from typing import Any

import pytest

from sessions_app.supervisor.cli.protocol import OutputMessage, ToolEnded
from sessions_app.supervisor.reconciliation import Reconciliation, digest_of

ACCEPT = {"permission_decision": {"decision": "accept", "source": "hook"}}
REJECT = {"non_execution_kind": "permission-rule", "permission_decision": {"decision": "reject", "source": "hook"}}


def result(tool_use_id: str = "t1", content: Any = "done", *, error: bool = False, meta: Any = None) -> OutputMessage:
    block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": content, "is_error": error}
    body: dict[str, Any] = {"message": {"content": [block]}}
    if meta is not None:
        body["tool_result_meta"] = [{"id": tool_use_id, **meta}]
    return OutputMessage("user", "", body)


def ended(tool_input: str, tool_use_id: str = "t1", tool_name: str = "Bash") -> ToolEnded:
    return ToolEnded(request_id="r", tool_use_id=tool_use_id, tool_name=tool_name, tool_input=tool_input)


@pytest.fixture
def audit() -> Reconciliation:
    return Reconciliation()


def test_a_call_that_was_allowed_ran_as_allowed(audit: Reconciliation) -> None:
    audit.allow("t1", '{"command": "make", "n": 1}')
    assert audit.check_callback(ended('{"n":1,"command":"make"}')) is None
    assert audit.check_results(result(meta=ACCEPT)) == []
    assert audit.check_results(result(error=True, meta=ACCEPT)) == []


def test_a_result_without_any_decision_is_a_violation_and_says_what_ran(audit: Reconciliation) -> None:
    call = {"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": ".env"}}
    assert audit.check_results(OutputMessage("assistant", "", {"message": {"content": [call]}})) == []
    [found] = audit.check_results(result("t1", "KEY=1"))
    assert (found.tool_name, found.tool_use_id, json.loads(found.tool_input)) == ("Read", "t1", {"file_path": ".env"})
    assert found.reason == "it ran without a decision of this run"


def test_a_refused_call_that_ran_is_a_violation_and_one_that_did_not_is_none(audit: Reconciliation) -> None:
    audit.deny("t1")
    refused = result(content="PreToolUse:Bash hook error: anna rejected this.", error=True, meta=REJECT)
    assert audit.check_results(refused) == []
    assert audit.check_results(result(content="anna rejected this.", error=True)) == []
    [found] = audit.check_results(result(content="secret", meta=ACCEPT))
    assert found.reason == "it ran although it was refused"


@pytest.mark.parametrize(
    ("content", "meta"),
    [
        ("<tool_use_error>Error: No such tool available: Foo</tool_use_error>", None),
        ([{"type": "text", "text": "<tool_use_error>InputValidationError"}], None),
        ("The user doesn't want to proceed", {"non_execution_kind": "user-rejected"}),
        ("Permission to use Bash has been denied", REJECT),
    ],
)
def test_a_call_that_the_cli_refused_by_itself_is_no_violation(audit: Reconciliation, content: Any, meta: Any) -> None:
    assert audit.check_results(result(content=content, error=True, meta=meta)) == []


@pytest.mark.parametrize(
    ("content", "meta", "error"),
    [
        ("<tool_use_error>", None, False),  # only an error says that nothing ran
        ("Exit code 1", ACCEPT, True),
        ("<tool_use_error>Exit code 1", ACCEPT, True),
        ("Exit code 1", None, True),
    ],
)
def test_a_run_that_failed_is_still_a_run(audit: Reconciliation, content: str, meta: Any, error: bool) -> None:
    assert len(audit.check_results(result(content=content, error=error, meta=meta))) == 1


def test_an_edited_call_that_ran_in_its_original_form_is_a_violation(audit: Reconciliation) -> None:
    audit.allow("t1", '{"command":"make test"}')
    found = audit.check_callback(ended('{"command":"make install"}'))
    assert found and found.reason == "it ran with another input than was allowed"
    assert found.tool_input == '{"command":"make install"}'


def test_a_permission_serves_its_own_call_alone(audit: Reconciliation) -> None:
    audit.allow("t1", "{}")
    assert audit.check_callback(ended("{}", "t2"))
    assert len(audit.check_results(result("t3"))) == 1


def test_a_permission_serves_one_run(audit: Reconciliation) -> None:
    """A model may use an id again; each run takes a permission of its own."""
    audit.allow("t1", "{}")
    assert audit.check_callback(ended("{}")) is None
    again = audit.check_callback(ended("{}"))
    assert again and again.reason == "it ran a second time"
    audit.allow("t2", "{}")
    assert audit.check_callback(ended("{}", "t2")) is None
    audit.allow("t2", "{}")
    assert audit.check_callback(ended("{}", "t2")) is None


def test_one_call_is_reported_once(audit: Reconciliation) -> None:
    assert audit.check_callback(ended("{}"))
    assert audit.check_callback(ended("{}")) is None
    assert audit.check_results(result()) == []


def test_an_error_without_a_word_of_the_cli_is_no_run_of_a_call_that_was_refused(audit: Reconciliation) -> None:
    """Inside a sub-agent results carry no ``tool_result_meta``."""
    audit.deny("t1")
    assert audit.check_results(result(content="The user doesn't want to proceed", error=True)) == []
    assert len(audit.check_results(result(content="it ran all the same"))) == 1


def test_a_run_that_was_let_go_and_not_reported_is_a_violation_unless_orchestra_stopped_it(
    audit: Reconciliation,
) -> None:
    """A stopped CLI says "Exit code 137" with ``accept``, or cannot call back any more."""
    audit.allow("t1", "{}")
    audit.allow("t2", "{}")
    assert len(audit.check_results(result("t1", meta=ACCEPT))) == 1
    audit.is_stopping = True
    assert audit.check_results(result("t2", "Exit code 137", error=True, meta=ACCEPT)) == []
    assert len(audit.check_results(result("t3", meta=ACCEPT))) == 1


def test_an_error_inside_a_sub_agent_that_was_never_asked_is_no_run(audit: Reconciliation) -> None:
    inner = result("t1", "The user doesn't want to take this action right now", error=True)
    assert audit.check_results(OutputMessage("user", "", inner.body | {"parent_tool_use_id": "toolu_agent"})) == []
    ran = result("t1", "done")
    assert len(audit.check_results(OutputMessage("user", "", ran.body | {"parent_tool_use_id": "toolu_agent"}))) == 1


def test_a_call_that_was_denied_and_then_allowed_may_run(audit: Reconciliation) -> None:
    audit.deny("t1")
    audit.allow("t1", "{}")
    assert audit.check_callback(ended("{}")) is None


def test_a_call_that_was_allowed_and_then_denied_may_not(audit: Reconciliation) -> None:
    audit.allow("t1", "{}")
    audit.deny("t1")
    assert audit.check_callback(ended("{}"))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":"\\ud800"}', '{"n":' + "9" * 5000 + "}"])
def test_any_input_has_a_digest(text: str) -> None:
    assert len(digest_of(text)) == 64


@pytest.mark.parametrize("body", [{}, {"message": 5}, {"message": {"content": "text"}}, {"message": {"content": [5]}}])
def test_lines_of_any_shape_are_taken(audit: Reconciliation, body: dict[str, Any]) -> None:
    assert audit.check_results(OutputMessage("user", "", body | {"tool_result_meta": 7})) == []
