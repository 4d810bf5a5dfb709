import os
import signal
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now

from approvals.stop import commands as stops
from orchestra.db import leases
from orchestra.diagnostics import probes as diagnostics
from orchestra.diagnostics.probes import Probe, Weight
from orchestra.models import Lease
from orchestra.tasks import beat
from sessions_app.models import Agent
from tests.factories import make_user


@pytest.fixture
def probes(monkeypatch):
    """A registry of the test's own."""
    monkeypatch.setattr(diagnostics, "_probes", {})
    monkeypatch.setattr(diagnostics, "_asking", {})
    return diagnostics.register


def all_is_well():
    leases.touch("beat")
    Agent.objects.create(name="claude", host="here", status=Agent.Status.READY)


@pytest.mark.django_db(transaction=True)
def test_health_names_every_part_when_all_is_well(client):
    all_is_well()
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "parts": {"database": "ok", "redis": "ok", "beat": "ok", "agents": "ok", "telegram": "off", "stopped": "no"},
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/metrics", "/swagger/index.html", "/api/schema"]
)
def test_pages_for_programs_answer_with_and_without_a_slash_at_their_end(client, path):
    for form in (path, f"{path}/"):
        answer = client.get(form)
        assert (answer.status_code, answer.get("Location")) == (200, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("typed", "leads_to"),
    [
        ("/sign-in/?next=/x", "/sign-in?next=/x"),
        ("/approvals/", "/approvals"),
        ("/admin", "/admin/"),
        ("/sessions/", "/sessions"),
    ],
)
def test_who_types_a_slash_too_many_or_too_few_finds_the_page(client, typed, leads_to):
    answer = client.get(typed)
    assert (answer.status_code, answer.get("Location")) == (302, leads_to)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    ["/nowhere/", "/nowhere", "/admin/nowhere", "/admin/nowhere/", "/%0d%0aX: y/", "/\\evil.example/"],
)
def test_what_leads_nowhere_either_way_goes_nowhere(client, path):
    client.force_login(make_user(is_superuser=True, is_staff=True))
    assert client.get(path).status_code == 404
    assert client.post("/sign-in/").status_code == 404  # a body is never sent on


@pytest.mark.django_db(transaction=True)
def test_readiness_also_shows_migrations_and_who_may_answer_themselves(client):
    all_is_well()
    parts = client.get("/health/ready").json()["parts"]
    assert parts["migrations"] == "ok"
    assert parts["self_approval"] in ("on", "off")


@pytest.mark.django_db(transaction=True)
def test_missing_agents_and_a_silent_beat_degrade_but_do_not_fail(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["parts"] == {
        "database": "ok",
        "redis": "ok",
        "beat": "down",
        "agents": "down",
        "telegram": "off",
        "stopped": "no",
    }


@pytest.mark.django_db(transaction=True)
def test_a_stop_is_told_and_is_no_illness(client):
    all_is_well()
    stops.stop_all(by="anna", via="api")
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"], answer.json()["parts"]["stopped"]) == (200, "ok", "yes")
    assert client.get("/health/ready").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_beat_is_judged_by_the_age_of_its_last_sign(client):
    beat()
    assert client.get("/health").json()["parts"]["beat"] == "ok"
    Lease.objects.filter(name="beat").update(updated_at=Now() - timedelta(minutes=5))
    assert client.get("/health").json()["parts"]["beat"] == "down"


@pytest.mark.django_db(transaction=True)
def test_readiness_fails_while_a_migration_is_missing_and_health_does_not(client):
    newest = MigrationRecorder.Migration.objects.filter(app="sessions_app").latest("id")
    newest.delete()
    try:
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["parts"]["migrations"] == "missing"
        assert client.get("/health").status_code == 200
    finally:
        MigrationRecorder(connection).record_applied(newest.app, newest.name)


def test_liveness_asks_no_database(client):
    # no database mark: pytest-django fails the test on any statement
    for answer in (client.get("/health/live"), client.head("/health/live")):
        assert answer.status_code == 200
    assert client.get("/health/live").json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_only_reading_is_possible(client, path):
    assert client.post(path).status_code == 405
    assert client.delete(path).status_code == 405


def test_a_vital_part_that_is_out_makes_503_and_leaks_nothing(client, probes):
    def broken():
        raise RuntimeError("password=hunter2 at /srv/secret")

    probes(Probe("database", broken, Weight.VITAL))
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {"status": "down", "parts": {"database": "down"}}


def test_hanging_parts_are_given_up_and_hold_one_thread_however_often_the_page_is_asked(client, probes):
    release = threading.Event()
    started = []

    def hangs():
        started.append(1)
        release.wait(60)
        return "ok"

    probes(Probe("redis", hangs))
    probes(Probe("other", hangs))
    began = time.monotonic()
    try:
        for _ in range(3):
            assert client.get("/health").json() == {"status": "degraded", "parts": {"redis": "down", "other": "down"}}
        assert time.monotonic() - began < 20
        assert len(started) == 2
    finally:
        release.set()
    deadline = time.monotonic() + 20
    while client.get("/health").json()["status"] != "ok":
        assert time.monotonic() < deadline


def test_a_note_never_changes_the_status(client, probes):
    probes(Probe("self_approval", lambda: "on", Weight.NOTE))
    assert client.get("/health").json() == {"status": "ok", "parts": {"self_approval": "on"}}


@pytest.mark.django_db(transaction=True)
def test_a_stopped_database_answers_503_in_time_and_recovers(client):
    """The server process of the probe's connection is frozen, as a hanging disk would."""
    all_is_well()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        others = [pid for (pid,) in cursor.fetchall()]
    if not others or os.geteuid() != 0:
        pytest.skip("needs a pooled connection and the right to freeze it")
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        answer = client.get("/health")
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)
    assert answer.status_code == 503
    deadline = time.monotonic() + 30
    while client.get("/health").status_code != 200:
        assert time.monotonic() < deadline
