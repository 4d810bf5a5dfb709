"""Rows and people for tests; a test overrides only what it is about."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.test import APIClient

from approvals.models import Approval
from approvals.policy.digest import input_digest
from orchestra.auth.groups import group_named
from sessions_app.models import AgentSession, Schedule, Turn


def make_user(username: str = "", *, group: str = "", **overrides: Any) -> User:
    """An active account without a usable password, in ``group`` if one is named."""
    user = User.objects.create(username=username or f"user-{uuid4().hex[:8]}", **overrides)
    user.set_unusable_password()
    user.save()
    if group:
        user.groups.add(group_named(group))
    return user


def token_for(user: User) -> str:
    """An API token of ``user``, for the header ``Authorization: Token …``."""
    token: str = AuthToken.objects.create(user)[1]
    return token


def make_session(**overrides: Any) -> AgentSession:
    """A queued session without turns."""
    fields: dict[str, Any] = {"title": "Tidy up", "working_directory": "/tmp", "requested_by": "olga"}
    session = AgentSession.objects.create(**fields | overrides)
    session.refresh_from_db()
    return session


def make_turn(session: AgentSession | None = None, **overrides: Any) -> Turn:
    """The next turn of ``session``, or the first of a fresh one."""
    session = session or make_session()
    fields: dict[str, Any] = {"number": session.turns.count() + 1, "prompt": "Tidy up the build folder"}
    turn = Turn.objects.create(session=session, **fields | overrides)
    turn.refresh_from_db()
    return turn


def make_approval(**overrides: Any) -> Approval:
    """A pending approval of a Bash call with an hour left; a closed one gets its time of decision."""
    fields: dict[str, Any] = {
        "title": "Bash: rm -r build",
        "tool_name": "Bash",
        "tool_input": json.dumps({"command": "rm -r build"}),
        "working_directory": "/tmp",
        "requested_by": "olga",
        "expires_at": timezone.now() + timedelta(hours=1),
    }
    fields |= overrides
    if fields.get("status", Approval.Status.PENDING) != Approval.Status.PENDING:
        fields.setdefault("decided_at", timezone.now())
    fields.setdefault(
        "input_digest",
        input_digest(
            tool_name=fields["tool_name"],
            tool_input=fields["tool_input"],
            working_directory=fields["working_directory"],
            session=fields.get("session"),
        ),
    )
    approval = Approval.objects.create(**fields)
    approval.refresh_from_db()
    return approval


def make_schedule(**overrides: Any) -> Schedule:
    """An hourly schedule of olga's, due in an hour."""
    fields: dict[str, Any] = {
        "title": "Tidy up",
        "session": {"prompt": "Tidy up", "agent": "demo"},
        "every_seconds": 3600,
        "requested_by": "olga",
        "next_due_at": timezone.now() + timedelta(hours=1),
    }
    return Schedule.objects.create(**fields | overrides)


def client_of(user: User) -> APIClient:
    """A REST client that signs in with a token of ``user``."""
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Token {token_for(user)}")
    return client
