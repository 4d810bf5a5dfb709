"""Stopping all agents over REST, in the console, in the admin, in a terminal and on the metrics page."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from approvals.models import AuditEntry, Stop
from approvals.stop import commands as stops
from approvals.stop.hub import StopRows
from orchestra.metrics import exposition
from tests.factories import client_of, make_approval, make_user

pytestmark = pytest.mark.django_db


def rest(group: str = "Approver", name: str = "anna") -> APIClient:
    return client_of(make_user(name, group=group))


def browser(group: str = "Approver", name: str = "anna") -> Client:
    client = Client()
    client.force_login(make_user(name, group=group, is_staff=group == "Administrator"))
    return client


# --- REST


def test_rest_stops_shows_and_lifts() -> None:
    client = rest()
    assert client.get("/api/stop").json() == {"stopped": False, "stop": None}
    made = client.post("/api/stop", {"reason": "the disk is full"}, format="json")
    assert made.status_code == 200
    told = made.json()["stop"]
    assert (told["started_by"], told["started_via"], told["reason"], told["mode"]) == (
        "anna",
        "api",
        "the disk is full",
        "hold",
    )
    assert client.get("/api/stop/").json() == made.json() == {"stopped": True, "stop": told}
    again = client.post("/api/stop", {"mode": "interrupt"}, format="json").json()
    assert (again["stop"]["id"], again["stop"]["mode"]) == (told["id"], "interrupt")
    lifted = client.delete(f"/api/stop?stop={told['id']}").json()
    assert (lifted["stopped"], lifted["stop"]["lifted_by"]) == (False, "anna")
    assert client.delete("/api/stop").json() == {"stopped": False, "stop": None}


def test_rest_keeps_an_idempotency_key_and_refuses_what_it_does_not_know() -> None:
    client = rest()
    headers = {"HTTP_IDEMPOTENCY_KEY": "k1"}
    first = client.post("/api/stop", {"reason": "a"}, format="json", **headers)
    assert client.post("/api/stop", {"reason": "a"}, format="json", **headers).json() == first.json()
    assert client.post("/api/stop", {"reason": "b"}, format="json", **headers).status_code == 422
    assert Stop.objects.count() == 1
    client.delete("/api/stop")
    for body in ({"mod": "interrupt"}, {"mode": "pause"}, {"reason": "x" * 1001}, {"reason": 5}):
        answer = client.post("/api/stop", body, format="json")
        assert answer.status_code == 400, body
    assert not stops.is_stopped()


def test_rest_does_not_lift_another_stop_than_the_one_that_is_named() -> None:
    client = rest()
    first = client.post("/api/stop", {}, format="json").json()["stop"]
    client.delete("/api/stop")
    client.post("/api/stop", {}, format="json")
    answer = client.delete(f"/api/stop?stop={first['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "another_stop")
    assert client.delete("/api/stop?stop=nonsense").status_code == 404
    assert stops.is_stopped()


def test_an_operator_stops_and_does_not_lift() -> None:
    client = rest("Operator", "olga")
    assert client.post("/api/stop", {}, format="json").status_code == 200
    assert client.delete("/api/stop").status_code == 403
    assert stops.is_stopped()


def test_the_time_left_in_rest_stands_still() -> None:
    approval = make_approval()
    client = rest()
    client.post("/api/stop", {}, format="json")
    stop = Stop.objects.get()
    stop.started_at = approval.created_at
    stop.save(update_fields=["started_at"])
    assert client.get(f"/api/approvals/{approval.pk}").json()["seconds_left"] in (3600, 3601)


# --- the console and the admin


@pytest.mark.parametrize("path", ["/", "/approvals", "/sessions", "/agents", "/statistics", "/diagnostics", "/account"])
def test_every_page_says_who_stopped_the_agents_and_why(path: str) -> None:
    stops.stop_all(by="boris", via="telegram", reason="<b>no</b>")
    page = browser().get(path, follow=True).content.decode()
    assert "All agents are stopped." in page
    assert "boris (in Telegram)" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page


def test_the_admin_says_so_too_and_leads_to_the_switch() -> None:
    client = browser("Administrator", "root")
    assert "/stop?next=/admin/" in client.get("/admin/").content.decode()
    stops.stop_all(by="boris", via="cli")
    for path in ("/admin/", "/admin/approvals/approval/", "/admin/approvals/stop/"):
        assert "All agents are stopped." in client.get(path).content.decode()


def test_no_banner_stands_where_nothing_is_stopped() -> None:
    client = browser()
    assert "All agents are stopped" not in client.get("/").content.decode()
    assert "All agents are stopped" not in client.get("/console/stop").content.decode()


def test_the_console_stops_and_lifts_in_two_presses_each() -> None:
    client = browser()
    assert 'href="/stop?next=%2Fapprovals"' in client.get("/approvals").content.decode()
    form = client.get("/stop?next=/approvals").content.decode()
    assert 'value="hold"' in form and 'value="interrupt"' in form
    answer = client.post("/stop", {"reason": " the disk is full ", "mode": "interrupt", "next": "/approvals"})
    assert (answer.status_code, answer["Location"]) == (302, "/approvals")
    stop = Stop.objects.get()
    assert (stop.started_by, stop.started_via, stop.reason, stop.mode) == (
        "anna",
        "dashboard",
        "the disk is full",
        "interrupt",
    )
    assert "Let agents go on" in client.get("/stop").content.decode()
    client.post(f"/stop/{stop.pk}/lift", {"next": "/admin/"})
    stop.refresh_from_db()
    assert (stop.lifted_by, stop.lifted_via) == ("anna", "admin")
    assert "anna" in client.get("/stop").content.decode()  # among the earlier ones


def test_a_form_left_open_does_not_lift_a_later_stop() -> None:
    client = browser()
    first, _ = stops.stop_all(by="boris", via="api")
    stops.lift_stop(by="boris", via="api")
    stops.stop_all(by="carla", via="api")
    answer = client.post(f"/stop/{first.pk}/lift", follow=True)
    assert "Nothing was changed." in answer.content.decode()
    assert stops.is_stopped()


def test_a_viewer_sees_the_stop_and_no_switch() -> None:
    client = browser("Viewer", "vera")
    assert "Stop all agents…" not in client.get("/").content.decode()
    stops.stop_all(by="boris", via="api")
    page = client.get("/stop").content.decode()
    assert "boris" in page and '<button class="btn btn-go"' not in page and "Interrupt them" not in page


# --- a terminal


def terminal(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_a_terminal_stops_and_resumes() -> None:
    told = terminal("stop", "--reason", "the disk is full", "--interrupt")
    assert "All agents are stopped, by shell:" in told and "the disk is full" in told and "manage.py resume" in told
    assert Stop.objects.get().mode == "interrupt"
    assert "stopped before" in terminal("stop")
    assert "was lifted by shell:" in terminal("resume")
    assert "not stopped" in terminal("resume")
    assert set(AuditEntry.objects.values_list("via", flat=True)) == {"cli"}


def test_a_terminal_judges_the_account_it_is_told_to_act_as() -> None:
    make_user("olga", group="Operator")
    make_user("vera", group="Viewer")
    with pytest.raises(CommandError, match="no right"):
        terminal("stop", "--user", "vera")
    terminal("stop", "--user", "olga")
    with pytest.raises(CommandError, match="no right"):
        terminal("resume", "--user", "olga")
    assert stops.is_stopped()


# --- the hub and the figures


def test_the_hub_lists_the_stop_in_force_and_tells_of_the_lift() -> None:
    rows = StopRows()
    assert rows.is_affected_by("stop", None) and not rows.is_affected_by("approval", None)
    stop, _ = stops.stop_all(by="anna", via="api", reason="wait")
    [row] = rows.rows(rows.fingerprints())
    assert row.is_listed and '"stopped":true' in row.json_text and '"reason":"wait"' in row.json_text
    stops.lift_stop(by="anna", via="api")
    [row] = rows.rows([str(stop.pk)])
    assert not row.is_listed and '"stopped":false' in row.json_text


def gauge() -> Any:
    return next(
        sample.value for one in exposition.collect() if one.name == "orchestra_stopped" for sample in one.samples
    )


def test_the_metrics_say_whether_all_agents_are_stopped() -> None:
    assert gauge() == 0
    stops.stop_all(by="anna", via="api")
    assert gauge() == 1
