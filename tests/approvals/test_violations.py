"""A tool that ran unapproved is recorded once, counted, audited, shown to everybody and acknowledged."""

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from approvals.audit.chain import content_of
from approvals.models import AuditEntry, Violation
from approvals.violations import record_violation
from orchestra.auth.permissions import BUILT_IN_GROUPS
from tests.factories import make_session, make_user

BANNER = "A tool ran without approval."


def make_violation(**overrides: Any) -> Violation:
    fields: dict[str, Any] = {
        "session": make_session().pk,
        "run": uuid4(),
        "requested_by": "olga",
        "tool_name": "Read",
        "tool_use_id": "toolu_1",
        "tool_input": '{"file_path": ".env"}',
        "reason": "it ran without a decision of this run",
    }
    record_violation(**fields | overrides)
    return Violation.objects.latest("created_at")


def figures(client: Client) -> dict[str, float]:
    lines = client.get("/metrics").content.decode().splitlines()
    return {name: float(value) for name, _, value in (line.partition(" ") for line in lines) if "violations" in name}


def test_the_figures_are_there_from_the_first_scrape_and_count_each_call_once(client: Client, db: None) -> None:
    assert figures(client) == {"approvals_violations_total": 0, "approvals_violations_open": 0}
    run = uuid4()
    for _ in range(2):
        make_violation(run=run)
    make_violation(run=run, tool_use_id="toolu_2")
    assert figures(client) == {"approvals_violations_total": 2, "approvals_violations_open": 2}


def test_it_is_in_the_audit(db: None) -> None:
    violation = make_violation()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.won, entry.by, entry.via) == ("ran_unapproved", False, "olga", "system")
    assert f"Read in session {violation.session}" in content_of(entry)["reason"]


@pytest.mark.parametrize("page", ["/", "/sessions", "/approvals", "/statistics", "/diagnostics", "/account", "/admin/"])
def test_every_page_shows_the_banner_until_an_administrator_acknowledges(client: Client, db: None, page: str) -> None:
    anna = make_user("anna", group="Administrator", is_staff=True, is_superuser=True)
    client.force_login(anna)
    assert BANNER not in client.get(page).content.decode()
    violation = make_violation()
    assert BANNER in client.get(page).content.decode()
    done = client.post(f"/violations/{violation.pk}/acknowledge", {"next": page})
    assert (done.status_code, done.headers["Location"]) == (302, page)
    assert BANNER not in client.get(page).content.decode()
    violation.refresh_from_db()
    assert violation.acknowledged_by == "anna"
    assert figures(client)["approvals_violations_total"] == 1
    assert AuditEntry.objects.filter(action="acknowledged", by="anna", via="dashboard", won=True).count() == 1


def test_the_page_of_its_session_shows_the_banner(client: Client, db: None) -> None:
    violation = make_violation()
    client.force_login(make_user(group="Viewer"))
    assert BANNER in client.get(f"/sessions/{violation.session}").content.decode()


@pytest.mark.parametrize("group", sorted(set(BUILT_IN_GROUPS) - {"Administrator"}))
def test_nobody_else_acknowledges(client: Client, db: None, group: str) -> None:
    violation = make_violation()
    client.force_login(make_user(group=group))
    if group != "Asker":
        seen = client.get("/").content.decode()
        assert BANNER in seen and "An administrator has to acknowledge this." in seen
    assert client.post(f"/violations/{violation.pk}/acknowledge").status_code == 403
    violation.refresh_from_db()
    assert violation.acknowledged_at is None


def test_who_is_not_signed_in_sees_nothing_of_it(client: Client, db: None) -> None:
    make_violation()
    assert BANNER not in client.get("/", follow=True).content.decode()


def test_acknowledging_what_is_not_there_is_a_404_and_twice_changes_nothing(client: Client, db: None) -> None:
    client.force_login(make_user("anna", group="Administrator"))
    assert client.post(f"/violations/{uuid4()}/acknowledge").status_code == 404
    violation = make_violation()
    for _ in range(2):
        client.post(f"/violations/{violation.pk}/acknowledge")
    assert AuditEntry.objects.filter(action="acknowledged").count() == 1


def test_what_a_tool_is_called_cannot_act_in_the_page(client: Client, db: None) -> None:
    make_violation(tool_name="<script>alert(1)</script>\u202e")
    client.force_login(make_user(group="Viewer"))
    page = client.get("/").content.decode()
    assert "<script>alert" not in page and "\u202e" not in page
