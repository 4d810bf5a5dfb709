"""The admin's legal hold: who may set it, what it keeps, and what is noted of it."""

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from approvals.models import Approval, AuditEntry
from orchestra.archive.commands import archive
from sessions_app.models import AgentSession
from tests.factories import make_user
from tests.keeping.test_archive import AGE, closed_approval, closed_session

LISTS = ("admin:approvals_approval_changelist", "admin:sessions_app_agentsession_changelist")


def signed_in(group: str, username: str) -> Client:
    client = Client()
    client.force_login(make_user(username, group=group, is_staff=True))
    return client


def choose(client: Client, action: str, *rows: Approval | AgentSession) -> None:
    """Run ``action`` on each row in its own list."""
    for row in rows:
        page = reverse(LISTS[isinstance(row, AgentSession)])
        client.post(page, {"action": action, "_selected_action": [str(row.pk)]})


def noted() -> list[tuple[str, str, str, bool]]:
    entries = AuditEntry.objects.filter(action__in=("held", "released")).order_by("pk")
    return [(one.action, one.by, one.via, one.approval_id is None) for one in entries]


def test_what_an_administrator_holds_outlives_retention_until_the_hold_is_lifted(house: Path) -> None:
    session, approval, other = closed_session(), closed_approval(), closed_approval()
    anna, boris = signed_in("Administrator", "anna"), signed_in("Administrator", "boris")
    choose(anna, "hold_selected", approval, session)
    assert archive(AGE).archived == {"sessions": 0, "approvals": 1}
    assert not Approval.objects.filter(pk=other.pk).exists()
    assert Approval.objects.get(pk=approval.pk).legal_hold
    assert AgentSession.objects.get(pk=session.pk).legal_hold
    choose(boris, "release_selected", approval, session)
    assert archive(AGE).archived == {"sessions": 1, "approvals": 1}


def test_each_hold_and_each_release_is_noted_once_with_who_and_where(house: Path) -> None:
    session, approval = closed_session(), closed_approval()
    anna = signed_in("Administrator", "anna")
    for action in ("hold_selected", "hold_selected", "release_selected", "release_selected"):
        choose(anna, action, approval, session)
    about_approval = [(action, "anna", "admin", False) for action in ("held", "released")]
    about_session = [(action, "anna", "admin", True) for action in ("held", "released")]
    assert sorted(noted()) == sorted(about_approval + about_session)
    reasons = set(
        AuditEntry.objects.filter(approval=None, action__in=("held", "released")).values_list("reason", flat=True)
    )
    assert len(reasons) == 1
    assert str(session.pk) in reasons.pop()


@pytest.mark.parametrize("group", ["Viewer", "Operator", "Approver"])
def test_nobody_else_is_offered_a_hold_or_can_send_one(house: Path, group: str) -> None:
    session, approval = closed_session(), closed_approval()
    somebody = signed_in(group, "olga")
    for page in LISTS:
        answer = somebody.get(reverse(page))
        assert answer.status_code in (200, 403)
        assert "hold_selected" not in answer.content.decode()
        assert "release_selected" not in answer.content.decode()
    choose(somebody, "hold_selected", approval, session)
    assert not Approval.objects.filter(legal_hold=True).exists()
    assert not AgentSession.objects.filter(legal_hold=True).exists()
    assert noted() == []


def test_an_administrator_is_offered_both(house: Path) -> None:
    closed_session()
    anna = signed_in("Administrator", "anna")
    for page in LISTS:
        shown = anna.get(reverse(page)).content.decode()
        assert "hold_selected" in shown
        assert "release_selected" in shown
