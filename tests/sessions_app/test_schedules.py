"""Schedules start what is due, once, with the rights its owner has then; what was missed is shown."""

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings
from rest_framework.test import APIClient

from approvals.models import Rule, Stop
from approvals.stop import commands as stops
from config.beat import TableScheduler
from config.celery import OURS, SCHEDULE, app
from sessions_app.models import AgentSession, Schedule, ScheduledRun
from sessions_app.schedules import commands as schedules
from sessions_app.schedules.commands import Timing, save_schedule, start_all_due, start_due
from sessions_app.tasks import start_scheduled_session
from tests.factories import client_of, make_schedule, make_user
from tests.threads import at_once

R = ScheduledRun.Status
HOURLY = {"session": {"prompt": "Tidy up", "agent": "demo"}, "every_seconds": 3600}


@pytest.fixture
def olga(db: None) -> User:
    return make_user("olga", group="Operator")


def due(**overrides: Any) -> Schedule:
    return make_schedule(**{"next_due_at": timezone.now() - timedelta(seconds=1)} | overrides)


def statuses(schedule: Schedule) -> list[str]:
    return list(schedule.runs.order_by("due_at", "created_at").values_list("status", flat=True))


def test_a_schedule_that_is_due_starts_a_session_in_its_owners_name(olga: User) -> None:
    schedule = due()
    before = schedule.next_due_at
    start_scheduled_session(str(schedule.pk))
    session = AgentSession.objects.get()
    assert (session.requested_by, session.agent, session.title) == ("olga", "demo", "Tidy up")
    run = schedule.runs.get()
    assert (run.status, run.session, run.due_at) == (R.STARTED, session.pk, before)
    schedule.refresh_from_db()
    assert schedule.next_due_at == before + timedelta(hours=1)


def test_what_is_not_due_or_switched_off_does_not_start(olga: User) -> None:
    early, off = make_schedule(), due(enabled=False)
    for schedule in (early, off):
        start_scheduled_session(str(schedule.pk))
    assert start_all_due() == 0
    assert not AgentSession.objects.exists()


def test_a_tick_that_never_came_is_made_good_by_the_sweep(olga: User) -> None:
    due()
    assert start_all_due() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_beats_that_ring_at_once_one_starts(transactional_db: None) -> None:
    make_user("olga", group="Operator")
    schedule = due()
    results = at_once([lambda: start_due(schedule.pk) for _ in range(8)])
    assert not [result for result in results if isinstance(result, Exception)]
    assert AgentSession.objects.count() == schedule.runs.count() == 1


def test_missed_times_are_shown_in_one_row_and_not_made_up_for(olga: User) -> None:
    first = timezone.now() - timedelta(hours=5, minutes=30)
    schedule = due(next_due_at=first)
    assert start_due(schedule.pk) is None
    run = schedule.runs.get()
    assert (run.status, run.number, run.due_at) == (R.MISSED, 6, first)
    schedule.refresh_from_db()
    assert schedule.next_due_at == first + timedelta(hours=6)
    assert not AgentSession.objects.exists()


def test_the_time_that_is_due_now_starts_after_missed_ones(olga: User) -> None:
    schedule = due(next_due_at=timezone.now() - timedelta(hours=2, seconds=5))
    start_due(schedule.pk)
    assert statuses(schedule) == [R.MISSED, R.STARTED]
    assert schedule.runs.get(status=R.MISSED).number == 2


def test_a_schedule_due_during_a_stop_of_all_agents_runs_once_after_the_lift(olga: User) -> None:
    schedule = due()
    stops.stop_all(by="anna", via="api")
    assert start_due(schedule.pk) is None
    assert start_all_due() == 0
    assert not schedule.runs.exists()
    stops.lift_stop(by="anna", via="api")
    assert start_all_due() == 1
    assert statuses(schedule) == [R.STARTED]


def test_a_stop_that_lasts_makes_times_missed_and_the_row_says_why(olga: User) -> None:
    schedule = due(next_due_at=timezone.now() - timedelta(hours=5, minutes=30))
    stops.stop_all(by="anna", via="api")
    Stop.objects.update(started_at=timezone.now() - timedelta(hours=6))
    stops.lift_stop(by="anna", via="api")
    assert start_all_due() == 0
    run = schedule.runs.get()
    assert (run.status, run.number) == (R.MISSED, 6)
    assert "All agents were stopped" in run.detail


@pytest.mark.parametrize(("overlap", "second"), [("skip", R.SKIPPED), ("queue", R.QUEUED), ("allow", R.STARTED)])
def test_the_overlap_rule_says_what_happens_while_the_last_session_is_open(
    olga: User, overlap: str, second: str
) -> None:
    schedule = due(overlap=overlap)
    start_due(schedule.pk)
    again(schedule)
    assert statuses(schedule) == [R.STARTED, second]


def again(schedule: Schedule) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(next_due_at=timezone.now() - timedelta(seconds=1))
    start_due(schedule.pk)


def test_a_queued_run_starts_when_its_predecessor_has_ended_and_only_one_waits(olga: User) -> None:
    schedule = due(overlap="queue")
    start_due(schedule.pk)
    again(schedule)
    again(schedule)
    assert statuses(schedule) == [R.STARTED, R.QUEUED, R.SKIPPED]
    assert start_all_due() == 0
    AgentSession.objects.update(status="completed")
    assert start_all_due() == 1
    assert statuses(schedule) == [R.STARTED, R.STARTED, R.SKIPPED]


def test_a_run_that_waits_does_not_start_while_its_schedule_is_disabled(olga: User) -> None:
    schedule = due(overlap="queue")
    start_due(schedule.pk)
    again(schedule)
    Schedule.objects.update(enabled=False)
    AgentSession.objects.update(status="completed")
    assert start_all_due() == 0
    assert statuses(schedule) == [R.STARTED, R.QUEUED]
    Schedule.objects.update(enabled=True)
    assert start_all_due() == 1


@pytest.mark.parametrize("change", ["group", "inactive", "gone"])
def test_the_owners_rights_are_judged_at_each_run(olga: User, change: str) -> None:
    schedule = due()
    if change == "group":
        olga.groups.clear()
    elif change == "inactive":
        User.objects.update(is_active=False)
    else:
        olga.delete()
    start_due(schedule.pk)
    assert statuses(schedule) == [R.REFUSED]
    assert not AgentSession.objects.exists()


def test_tools_that_are_allowed_in_advance_need_the_right_at_each_run(olga: User, settings: Any) -> None:
    schedule = due(session={"prompt": "x", "agent": "demo", "allowed_tools": ["Bash"]})
    start_due(schedule.pk)
    assert "one's own requests" in schedule.runs.get().detail
    assert not Rule.objects.exists()


def test_a_directory_that_is_gone_refuses_the_run_and_says_so(olga: User) -> None:
    schedule = due(session={"prompt": "x", "agent": "demo", "working_directory": "/gone"})
    start_due(schedule.pk)
    assert "working directory" in schedule.runs.get().detail


def test_a_restore_makes_up_for_nothing(olga: User) -> None:
    schedule = due(next_due_at=timezone.now() - timedelta(days=2))
    ScheduledRun.objects.create(schedule=schedule, due_at=timezone.now(), status=R.QUEUED)
    schedules.reset_due_times("restored")
    assert start_all_due() == 0
    assert statuses(schedule) == [R.SKIPPED]


# --- the REST door


@pytest.fixture
def api(olga: User) -> APIClient:
    return client_of(olga)


def test_a_schedule_is_made_shown_changed_and_deleted(api: APIClient) -> None:
    made = api.post("/api/schedules", HOURLY, format="json")
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["title"], body["requested_by"], body["timezone"], body["overlap"]) == (
        "Tidy up",
        "olga",
        "UTC",
        "skip",
    )
    path = f"/api/schedules/{body['id']}"
    beat = PeriodicTask.objects.get(name=f"schedule {body['id']}")
    assert (beat.task, json.loads(beat.kwargs)) == ("sessions_app.start_scheduled_session", {"schedule_id": body["id"]})
    changed = api.patch(path, {"cron": "15 3 * * *", "enabled": False}, format="json").json()
    assert (changed["cron"], changed["every_seconds"], changed["enabled"]) == ("15 3 * * *", None, False)
    beat.refresh_from_db()
    assert (beat.crontab.hour, beat.interval, beat.enabled) == ("3", None, False)
    assert api.get("/api/schedules").json()["results"] == [changed]
    assert api.delete(path).status_code == 204
    assert api.get(path).json()["code"] == "schedule_not_found"
    assert not PeriodicTask.objects.filter(name__startswith="schedule").exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"every_seconds": None}, "cron"),
        ({"cron": "* * * * *"}, "cron"),
        ({"every_seconds": 59}, "every_seconds"),
        ({"every_seconds": None, "cron": "often"}, "cron"),
        ({"every_seconds": None, "cron": "0 0 31 2 *"}, "cron"),
        ({"timezone": "Mars"}, "timezone"),
        ({"overlap": "maybe"}, "overlap"),
        ({"session": {"prompt": " "}}, "session.prompt"),
        ({"session": {"prompt": "x", "working_directory": "/etc"}}, "session.working_directory"),
        ({"session": {}}, "session"),
    ],
)
def test_what_cannot_be_a_schedule_is_named(api: APIClient, change: dict[str, Any], field: str) -> None:
    answer = api.post("/api/schedules", HOURLY | change, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert not Schedule.objects.exists()
    assert not PeriodicTask.objects.exists()


def test_a_schedule_with_rights_that_its_maker_lacks_is_refused(api: APIClient) -> None:
    tools = HOURLY | {"session": {"prompt": "x", "allowed_tools": ["Bash"]}}
    assert api.post("/api/schedules", tools, format="json").json()["code"] == "self_approval"
    settings = HOURLY | {"session": {"prompt": "x", "setting_sources": ["user"]}}
    assert api.post("/api/schedules", settings, format="json").status_code == 403


def test_an_administrators_change_runs_in_the_administrators_name(api: APIClient) -> None:
    pk = api.post("/api/schedules", HOURLY, format="json").json()["id"]
    admin = client_of(make_user("anna", group="Administrator"))
    changed = admin.patch(
        f"/api/schedules/{pk}", {"session": {"prompt": "Else", "agent": "demo"}}, format="json"
    ).json()
    assert changed["requested_by"] == "anna"


def test_run_now_keeps_the_rules(api: APIClient) -> None:
    pk = api.post("/api/schedules", HOURLY, format="json").json()["id"]
    first, second = (api.post(f"/api/schedules/{pk}/run", {}, format="json").json() for _ in range(2))
    assert (first["status"], second["status"]) == ("started", "skipped")
    shown = api.get(f"/api/schedules/{pk}").json()["last_runs"]
    assert [run["status"] for run in shown] == ["skipped", "started"]


# --- the admin


def test_the_admin_makes_a_schedule_and_shows_what_became_of_it(client: Any, db: None) -> None:
    client.force_login(make_user("anna", group="Administrator", is_staff=True))
    form = {
        "title": "", "prompt": "Tidy up", "agent": "demo", "working_directory": "", "model": "",
        "permission_mode": "default", "allowed_tools": "", "disallowed_tools": "", "cron": "0 9 * * 1-5",
        "every_seconds": "", "timezone": "Europe/Berlin", "overlap": "queue", "enabled": "on",
    }  # fmt: skip
    wrong = client.post("/admin/sessions_app/schedule/add/", form | {"cron": "often"})
    assert b"This is no cron line" in wrong.content
    made = client.post("/admin/sessions_app/schedule/add/", form)
    assert made.status_code == 302, made.content
    schedule = Schedule.objects.get()
    assert (schedule.title, schedule.requested_by, schedule.session["prompt"]) == ("Tidy up", "anna", "Tidy up")
    listed = "/admin/sessions_app/schedule/"
    client.post(listed, {"action": "run_now", "_selected_action": [str(schedule.pk)]})
    assert schedule.runs.get().status == R.STARTED
    page = client.get(f"{listed}{schedule.pk}/change/")
    assert b"started" in page.content
    changed = client.post(f"{listed}{schedule.pk}/change/", form | {"prompt": "Else", "overlap": "skip"})
    assert changed.status_code == 302
    schedule.refresh_from_db()
    assert (schedule.session["prompt"], schedule.overlap) == ("Else", "skip")
    assert b"Else" in client.get(listed).content


def test_an_operator_cannot_touch_anothers_schedule_in_the_admin(client: Any, db: None) -> None:
    schedule = make_schedule(requested_by="anna")
    client.force_login(make_user("olga", group="Operator", is_staff=True))
    page = f"/admin/sessions_app/schedule/{schedule.pk}"
    assert client.post(f"{page}/change/", {"title": "mine"}).status_code == 403
    assert client.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    assert Schedule.objects.get().title == "Tidy up"


# --- beat


@pytest.mark.django_db(transaction=True)
def test_beat_removes_entries_that_the_table_no_longer_has_and_no_others(transactional_db: None) -> None:
    olga = make_user("olga", group="Operator")
    TableScheduler(app=app, lazy=False)
    kept = save_schedule(user=olga, title="", session={"prompt": "x", "agent": "demo"}, timing=Timing(cron="0 9 * * *"))
    one = PeriodicTask.objects.get(name="beat")
    old = PeriodicTask.objects.create(
        name="the old name", task="orchestra.beat", interval=one.interval, description=OURS
    )
    own = PeriodicTask.objects.create(name="somebody's own", task="orchestra.archive", interval=one.interval)
    TableScheduler(app=app, lazy=False)
    names = set(PeriodicTask.objects.exclude(name__startswith="celery.").values_list("name", flat=True))
    assert names == {*SCHEDULE, own.name, f"schedule {kept.pk}"}
    assert old.name not in names


@pytest.mark.django_db(transaction=True)
def test_every_sweep_is_due_when_beat_starts(transactional_db: None) -> None:
    for _ in range(2):  # the first start, and one after a while
        scheduler = TableScheduler(app=app, lazy=False)
        for name, (_task, seconds) in SCHEDULE.items():
            due, _next = scheduler.schedule[name].is_due()
            assert due is (seconds <= 300), name


@pytest.mark.django_db(transaction=True)
def test_beat_does_not_ask_the_database_at_every_step_and_still_sees_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.beat.LOOK_EVERY_S", 3600)
    scheduler = TableScheduler(app=app, lazy=False)
    assert "beat" in scheduler.schedule
    scheduler.schedule_changed()
    with CaptureQueriesContext(connection) as asked:
        for _ in range(100):
            assert "beat" in scheduler.schedule
    assert not asked.captured_queries
    entry = PeriodicTask.objects.get(name="beat")
    entry.enabled = False
    entry.save()
    assert "beat" in scheduler.schedule
    monkeypatch.setattr(scheduler, "_look_at", 0.0)
    assert "beat" not in scheduler.schedule


def test_a_schedule_that_cannot_start_holds_up_no_other(olga: User) -> None:
    broken = due(
        next_due_at=timezone.now() - timedelta(seconds=5), timezone="Mars/Olympus", cron="* * * * *", every_seconds=None
    )
    fine = due()
    assert start_all_due() == 1
    assert statuses(broken) == []
    assert statuses(fine) == [R.STARTED]


def test_without_room_for_a_folder_a_start_is_refused_and_says_so(
    olga: User, settings: Settings, tmp_path: Path
) -> None:
    """A file where the folder would be: root, as which tests may run, could write to a read-only one."""
    (tmp_path / "root").write_text("")
    settings.AGENTS = dataclasses.replace(settings.AGENTS, working_roots=(tmp_path / "root",))
    response = client_of(olga).post("/api/sessions", {"prompt": "Tidy up", "agent": "demo"}, format="json")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    schedule = due()
    assert start_all_due() == 0
    run = schedule.runs.get()
    assert (run.status, run.detail) == (R.REFUSED, "A folder to work in could not be made: Not a directory.")
