"""What is long is read to its end before it is approved, in a terminal."""

import json

import pytest

from approvals.models import Approval
from tests.factories import make_approval
from tests.flows.test_terminal import Terminal, call, short

pytestmark = pytest.mark.django_db(transaction=True)
S = Approval.Status


def long_one() -> Approval:
    command = "echo hello\n" + "#\n" * 200 + "rm -rf everything"
    return make_approval(tool_input=json.dumps({"command": command}))


def test_it_is_printed_and_refused_with_the_flag_named_and_the_flag_approves() -> None:
    approval = long_one()
    done = call("approvals", "approve", short(approval))
    assert done.returncode == 1
    assert "Long: 202 lines" in done.stdout
    assert done.stdout.count("rm -rf everything") == 2
    assert "add --read" in done.stderr
    approval.refresh_from_db()
    assert approval.status == S.PENDING
    assert call("approvals", "approve", short(approval), "--read").returncode == 0
    approval.refresh_from_db()
    assert approval.status == S.APPROVED


def test_neither_a_short_one_nor_a_rejection_wants_a_flag() -> None:
    assert call("approvals", "approve", short(make_approval())).returncode == 0
    assert call("approvals", "reject", short(long_one())).returncode == 0


def test_what_is_too_large_to_be_searched_for_secrets_is_approved_only_once_revealed() -> None:
    approval = make_approval(tool_input=json.dumps({"command": "x" * 300_000 + " the end"}))
    shown = call("approvals", "show", short(approval)).stdout
    assert "x the end\n" not in shown and "too large to be searched" in shown
    refused = call("approvals", "approve", short(approval), "--read")
    assert refused.returncode == 1 and "--reveal" in refused.stderr
    shown = call("approvals", "show", short(approval), "--reveal").stdout
    assert "x the end\n" in shown and "Cut:" not in shown
    assert call("approvals", "approve", short(approval), "--read", "--reveal").returncode == 0
    approval.refresh_from_db()
    assert approval.status == S.APPROVED


@pytest.mark.parametrize(("typed", "status"), [("yes", S.PENDING), ("read", S.APPROVED)])
def test_on_a_terminal_it_is_confirmed_in_words(typed: str, status: str) -> None:
    approval = long_one()
    terminal = Terminal("approvals", "watch")
    terminal.wait_for("[a]pprove / approve with a [n]ote / [r]eject / [s]kip?")
    terminal.type("a\n")
    terminal.wait_for("Type read once you have read it to its end:")
    terminal.type(f"{typed}\n")
    terminal.wait_for("approved by" if status == S.APPROVED else "Not approved")
    approval.refresh_from_db()
    assert approval.status == status
    terminal.close()
