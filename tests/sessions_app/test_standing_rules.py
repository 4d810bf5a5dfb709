"""Whose turns a session's rules serve: only those of people who could have made them (by the rights they have now)."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from approvals.commands import decide_approval
from approvals.models import Rule
from approvals.policy import Surroundings
from orchestra.auth.permissions import BUILT_IN_GROUPS, Right, may, may_by_name
from sessions_app.commands import SessionRequest, send_message, start_session
from sessions_app.models import AgentSession, Turn
from sessions_app.schedules import commands as schedules
from sessions_app.schedules.commands import Timing
from sessions_app.supervisor import leases, permissions
from sessions_app.supervisor.cli.protocol import ToolRequest
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.outcomes import PARKED, Outcome
from sessions_app.supervisor.permission_outcome import PermissionOutcome
from tests.factories import make_user

pytestmark = pytest.mark.django_db
WORKER = leases.Worker(host="here", pid=1, started=1.0)
MAKE = {"command": "make"}


@pytest.fixture(autouse=True)
def people(settings: Settings, tmp_path: Path) -> None:
    """Ada administers, Olga and Oleg operate, Anna approves; whoever may decide may decide their own requests."""
    settings.APPROVALS = replace(settings.APPROVALS, self_approval=True)
    settings.AGENTS = replace(settings.AGENTS, working_roots=(tmp_path.resolve(),))
    for name, group in (
        ("ada", "Administrator"), ("bea", "Administrator"), ("olga", "Operator"), ("oleg", "Operator"),
        ("anna", "Approver"),
    ):  # fmt: skip
        make_user(name, group=group)


numbers: Iterator[int] = count()


def call(tool: str = "Bash", *, agent_id: str = "", **arguments: Any) -> ToolRequest:
    return ToolRequest(
        request_id="r", tool_use_id=f"toolu_{next(numbers)}", tool_name=tool,
        tool_input=json.dumps(arguments or MAKE), agent_id=agent_id, is_callback=True,
    )  # fmt: skip


def session_of(by: str, **wanted: Any) -> AgentSession:
    return start_session(SessionRequest(prompt="go", agent="demo", **wanted), by=by, may_allow=True)


def claimed(session: AgentSession) -> Claim:
    found = leases.claim_turn(Turn.objects.get(session=session, status="queued").pk, WORKER)
    assert found
    return found


def ended(claim: Claim) -> None:
    leases.finish_run(claim, Outcome(status="completed"), exit_code=0)


def next_turn(session: AgentSession, by: str) -> Claim:
    """The claim of a further turn, sent by ``by``."""
    if Turn.objects.filter(session=session, status="queued").exists():
        ended(claimed(session))
    send_message(session_id=session.pk, prompt="and now", by=by)
    return claimed(session)


def asked(claim: Claim, wanted: ToolRequest | None = None) -> PermissionOutcome:
    around = Surroundings(data_dir="/nowhere", code_dir="/nowhere", working_roots=(claim.directory,), port=1)
    return permissions.request_permission(claim, wanted or call(), plan="", surroundings=around)


def approved_for_session(claim: Claim, by: str = "anna") -> None:
    decision = asked(claim)
    assert decision.approval_id
    decide_approval(approval_id=decision.approval_id, decision="approved", by=by, via="api", scope="session")
    permissions.mark_answered(claim, [decision.approval_id], goes_on=True)


def test_allowed_tools_of_an_administrator_do_not_serve_an_operators_message() -> None:
    session = session_of("ada", allowed_tools=["Bash"])
    first = claimed(session)
    assert asked(first).effect == "allow"
    ended(first)
    assert asked(next_turn(session, "olga")).effect == "wait"


@pytest.mark.parametrize(("by", "effect"), [("ada", "allow"), ("bea", "allow"), ("olga", "wait"), ("anna", "allow")])
def test_accepting_edits_serves_who_could_have_accepted_them(by: str, effect: str) -> None:
    session = session_of("ada", permission_mode="acceptEdits")
    claim = next_turn(session, by)
    assert asked(claim, call("Write", file_path=f"{claim.directory}/a.txt", content="x")).effect == effect


def test_an_approval_for_the_session_serves_whom_it_was_given_and_who_could_have_given_it() -> None:
    session = session_of("olga")
    first = claimed(session)
    approved_for_session(first)
    assert Rule.objects.get().made_for == "olga"
    assert asked(first).effect == "allow"
    ended(first)
    effects = {}
    for by in ("oleg", "olga", "ada"):
        claim = next_turn(session, by)
        effects[by] = asked(claim).effect
        ended(claim)
    assert effects == {"oleg": "wait", "olga": "allow", "ada": "allow"}


def take_from(name: str, how: str) -> None:
    user = User.objects.get(username=name)
    if how == "account":
        User.objects.filter(pk=user.pk).update(is_active=False)
    elif how == "deleted":
        user.delete()
    else:
        user.groups.set(Group.objects.filter(name="Viewer"))


@pytest.mark.parametrize("how", ["rights", "account", "deleted"])
@pytest.mark.parametrize("whose", ["ada", "olga"])
def test_who_loses_their_rights_loses_the_rules_in_the_same_turn(whose: str, how: str) -> None:
    session = session_of(whose, allowed_tools=["Bash"] if whose == "ada" else [])
    claim = claimed(session)
    if whose == "olga":
        approved_for_session(claim)
    assert asked(claim).effect == "allow"
    take_from(whose, how)
    assert asked(claim).effect == "wait"


def test_without_self_approval_nobody_is_served_by_what_they_allowed_themselves(settings: Settings) -> None:
    session = session_of("ada", allowed_tools=["Bash"])
    claim = claimed(session)
    settings.APPROVALS = replace(settings.APPROVALS, self_approval=False)
    assert asked(claim).effect == "wait"


def test_a_rule_from_before_it_was_kept_for_whom_is_its_makers_own() -> None:
    session = session_of("olga")
    claim = claimed(session)
    Rule.objects.create(effect="allow", tool="Bash", scope="session", scope_value=str(session.pk), created_by="ada")
    assert asked(claim).effect == "wait"


def test_rules_that_deny_or_ask_and_rules_beyond_a_session_count_for_everybody() -> None:
    session = session_of("ada")
    mine = {"scope": "session", "scope_value": str(session.pk), "created_by": "ada", "made_for": "ada"}
    Rule.objects.create(effect="deny", tool="Bash", pattern="rm *", **mine)
    Rule.objects.create(effect="ask", tool="Bash", pattern="make", **mine)
    Rule.objects.create(effect="allow", tool="Bash", scope="everywhere", created_by="ada")
    claim = next_turn(session, "olga")
    assert asked(claim, call(command="rm -r /tmp/x")).effect == "deny"
    assert asked(claim, call(command="ls")).effect == "allow"
    assert asked(claim).effect == "wait"


def test_a_sub_agent_is_served_like_its_turn() -> None:
    session = session_of("ada", allowed_tools=["Bash"])
    first = claimed(session)
    assert asked(first, call(agent_id="a1")).effect == "allow"
    ended(first)
    assert asked(next_turn(session, "olga"), call(agent_id="a1")).effect == "wait"


def test_a_turn_that_was_parked_goes_on_by_the_rights_of_its_requester() -> None:
    session = session_of("ada", allowed_tools=["Bash(ls)"])
    claim = next_turn(session, "olga")
    parked = call(command="touch x")
    waiting = asked(claim, parked)
    assert waiting.approval_id
    leases.finish_run(claim, Outcome(status=PARKED), exit_code=0, deferred=parked.tool_use_id)
    decide_approval(approval_id=waiting.approval_id, decision="approved", by="anna", via="api")
    leases.resume_answered(session.pk)
    again = leases.claim_turn(claim.turn_id, WORKER)
    assert again and again.replay
    assert asked(again, parked).effect == "allow"
    assert asked(again, call(command="ls")).effect == "wait"


def test_a_schedule_runs_by_the_rights_of_whom_it_belongs_to() -> None:
    wanted = {"prompt": "go", "agent": "demo", "allowed_tools": ["Bash"]}
    ada = User.objects.get(username="ada")
    schedule = schedules.save_schedule(user=ada, title="t", session=wanted, timing=Timing(every_seconds=3600))
    run = schedules.start_now(schedule_id=schedule.pk, user=ada)
    assert run.session
    claim = claimed(AgentSession.objects.get(pk=run.session))
    assert asked(claim).effect == "allow"
    take_from("ada", "rights")
    assert asked(claim).effect == "wait"


def test_a_call_that_a_rule_answers_costs_no_further_statement() -> None:
    session = session_of("ada", allowed_tools=["Bash"])
    claim = claimed(session)
    with CaptureQueriesContext(
        connection,
    ) as counted:
        permissions._rules(claim)
    assert len(counted) == 1


def test_the_page_says_whom_a_rule_serves() -> None:
    session = session_of("olga")
    approved_for_session(claimed(session))
    client = Client()
    client.force_login(User.objects.get(username="anna"))
    page = client.get(f"/sessions/{session.pk}").content.decode()
    assert "serves turns of <bdi>olga and whoever may decide their own requests</bdi>" in page


@pytest.mark.parametrize("group", ["", *BUILT_IN_GROUPS])
@pytest.mark.parametrize("account", [{}, {"is_active": False}, {"is_superuser": True}], ids=str)
def test_rights_read_in_sql_are_the_rights(group: str, account: dict[str, Any]) -> None:
    user = make_user("x", group=group, **account)
    assert {right for right in Right if may_by_name("x", right)} == {right for right in Right if may(user, right)}
    assert not may_by_name("nobody", Right.READ)


def test_who_acts_in_a_terminal_is_served_as_long_as_no_account_has_the_name() -> None:
    session = session_of("shell:root")
    claim = claimed(session)
    approved_for_session(claim)
    assert asked(claim).effect == "allow"
    make_user("shell:root", group="Viewer")
    assert asked(claim).effect == "wait"
