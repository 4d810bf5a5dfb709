"""Whatever gives power leaves a sealed audit entry when it changes, through every surface."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import IntegrityError, connection, models
from django.db.models.signals import pre_save
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from knox.models import AuthToken

from approvals.admin import RuleAdmin
from approvals.audit import chain
from approvals.commands import decide_approval
from approvals.models import AuditEntry, AuditSeal, Rule
from escalation.models import Approver
from orchestra.auth.groups import permissions_of
from orchestra.auth.permissions import Right
from orchestra.auth.sign_in_links import make_link
from orchestra.models import SignInLink
from sessions_app.models import AgentSession, Schedule
from tests.factories import client_of, make_approval, make_schedule, make_session, make_user
from tests.stack import ROOT

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
ALLOW = {"effect": "allow", "tool": "Bash", "pattern": "", "scope": "everywhere", "scope_value": "", "note": ""}


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(make_user("ada", group="Administrator", is_staff=True))
    AuditEntry.objects.all().delete()
    return client


def entries() -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", "by", "via"))


def reasons() -> str:
    return "\n".join(AuditEntry.objects.order_by("pk").values_list("reason", flat=True))


# --- the finding: a rule that nobody sees


def test_a_rule_that_is_added_used_and_deleted_in_the_admin_stands_in_the_seal(boss: Client) -> None:
    assert boss.post(reverse("admin:approvals_rule_add"), ALLOW).status_code == 302
    rule = Rule.objects.get()
    boss.post(reverse("admin:approvals_rule_change", args=[rule.pk]), ALLOW | {"effect": "deny"})
    boss.post(reverse("admin:approvals_rule_delete", args=[rule.pk]), {"post": "yes"})
    assert entries() == [(f"rule_{what}", "ada", "admin") for what in ("added", "changed", "deleted")]
    added, changed, deleted = AuditEntry.objects.order_by("pk")
    assert added.address == "127.0.0.1"
    assert 'tool "Bash"; scope "everywhere"; created_by "ada"' in added.reason
    assert changed.reason.endswith('effect "allow" → "deny"')
    assert 'effect "deny"; tool "Bash"' in deleted.reason
    chain.seal_new_entries()
    assert AuditSeal.objects.count() == 3
    assert list(chain.problems(chain.head())) == []
    AuditEntry.objects.filter(pk=added.pk).update(reason="nothing of note")
    assert "was edited" in next(chain.problems(chain.head()))


def test_the_list_of_the_audit_says_what_was_changed(boss: Client) -> None:
    rule = Rule.objects.create(effect="allow", tool="Bash\u202e<b>", scope="everywhere")
    page = boss.get(reverse("admin:approvals_auditentry_changelist")).content.decode()
    assert "rule_added" in page and "Bash\\u202e&lt;b&gt;" in page
    entry = AuditEntry.objects.get(action="rule_added")
    page = boss.get(reverse("admin:approvals_auditentry_change", args=[entry.pk])).content.decode()
    assert str(rule.pk) in page and "\u202e" not in page


def test_a_change_that_is_rolled_back_leaves_no_entry(boss: Client) -> None:
    refuse = _refusing(LogEntry)  # Django writes it in the transaction of the change, after the change
    with refuse:
        boss.raise_request_exception = False
        assert boss.post(reverse("admin:approvals_rule_add"), ALLOW).status_code == 500
    assert (Rule.objects.count(), AuditEntry.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("model", [Rule, User, AuthToken])
def test_a_change_whose_audit_fails_does_not_happen(model: Any) -> None:
    user = User.objects.create(username="anna")
    makers: dict[Any, Callable[[], Any]] = {
        Rule: lambda: Rule.objects.create(effect="allow", tool="Bash"),
        User: lambda: User.objects.create(username="mallory"),
        AuthToken: lambda: AuthToken.objects.create(user),
    }
    before = model.objects.count()
    with _refusing(AuditEntry), pytest.raises(IntegrityError):
        makers[model]()
    assert model.objects.count() == before
    with _refusing(AuditEntry), pytest.raises(IntegrityError):
        user.delete()
    with _refusing(AuditEntry), pytest.raises(IntegrityError):
        user.groups.add(Group.objects.get(name="Administrator"))
    assert User.objects.get().groups.count() == 0


class _refusing:
    """Within the block no row of that model can be written."""

    def __init__(self, model: type[models.Model]) -> None:
        self._model = model

    def __enter__(self) -> None:
        pre_save.connect(self._refuse, sender=self._model)

    def __exit__(self, *_: object) -> None:
        pre_save.disconnect(self._refuse, sender=self._model)

    def _refuse(self, **_: Any) -> None:
        raise IntegrityError("the disk is full")


# --- every page of the admin that changes something


def recipes() -> dict[Any, tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """What the forms of a model take: to add a row, and to change it. None: that is not possible there."""
    anna, every = User.objects.get(username="anna"), IntervalSchedule.objects.first()
    person = {"username": "eve", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    account = {"username": "eve", "is_staff": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    schedule = {
        "prompt": "Tidy up", "agent": "demo", "permission_mode": "default", "every_seconds": "3600", "timezone": "UTC",
        "overlap": "skip", "enabled": "on",
    }  # fmt: skip
    tasks = {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}  # shown below a timing
    crontab = {
        "minute": "1", "hour": "*", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*", "timezone": "UTC",
    }  # fmt: skip
    task = {
        "name": "mine", "regtask": "approvals.expire_due", "args": "[]", "kwargs": "{}", "headers": "{}",
        "enabled": "on", "interval": str(every.pk if every else ""),
    }  # fmt: skip
    return {
        Rule: (ALLOW, ALLOW | {"effect": "deny"}),
        User: (person, account),
        Group: ({"name": "Night shift"}, {"name": "Night shift", "permissions": permissions_of(Right.DECIDE)[0].pk}),
        AuthToken: ({"user": anna.pk}, None),
        Approver: ({"user": anna.pk}, None),
        Schedule: (schedule, schedule | {"prompt": "Delete everything"}),
        PeriodicTask: (task, task | {"kwargs": '{"batch": 1}'}),
        IntervalSchedule: (tasks | {"every": "7", "period": "hours"}, tasks | {"every": "1", "period": "hours"}),
        CrontabSchedule: (tasks | crontab, tasks | crontab | {"minute": "2"}),
        SolarSchedule: (
            tasks | {"event": "sunset", "latitude": "1", "longitude": "1"},
            tasks | {"event": "sunset", "latitude": "2", "longitude": "1"},
        ),
        ClockedSchedule: (
            tasks | {"clocked_time_0": "2030-01-01", "clocked_time_1": "00:00:00"},
            tasks | {"clocked_time_0": "2031-01-01", "clocked_time_1": "00:00:00"},
        ),
    }


GIVES_NO_POWER = {AgentSession}  # a session asks for each thing it does; starting one is on its own record


def unaudited(boss: Client) -> Iterator[str]:
    """What an administrator can change in the admin without a trace: one line for each page."""
    request = RequestFactory().get("/admin/")
    request.user = User.objects.get(username="ada")
    IntervalSchedule.objects.get_or_create(every=10, period="days")
    known = recipes()
    for model, page in admin.site._registry.items():
        may = {
            "add": page.has_add_permission(request),
            "change": page.has_change_permission(request),
            "delete": page.has_delete_permission(request),
        }
        if not any(may.values()) or model in GIVES_NO_POWER:
            continue
        if model not in known:
            yield f"{model.__name__} can be changed, and nobody has said what that leaves in the audit"
            continue
        yield from _tried(boss, model, may, *known[model])


def _tried(boss: Client, model: Any, may: dict[str, bool], add: Any, change: Any) -> Iterator[str]:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    for how in ("delete", "delete_selected"):
        if not may["add"]:
            yield f"{model.__name__} cannot be tried"
            return
        old = set(model.objects.values_list("pk", flat=True))
        yield from _without_trace(f"{model.__name__} add", boss, reverse(f"{name}_add"), add)
        made = model.objects.exclude(pk__in=old).get()
        if may["change"] and change is not None:
            form = dict(change)
            address = reverse(f"{name}_change", args=[made.pk])
            yield from _without_trace(f"{model.__name__} change", boss, address, form)
        if not may["delete"]:
            return
        if how == "delete":
            address = reverse(f"{name}_delete", args=[made.pk])
            yield from _without_trace(f"{model.__name__} delete", boss, address, {"post": "yes"})
        else:
            form = {"action": "delete_selected", "_selected_action": [str(made.pk)], "post": "yes"}
            address = reverse(f"{name}_changelist")
            yield from _without_trace(f"{model.__name__} delete many", boss, address, form)
        assert not model.objects.filter(pk=made.pk).exists()


def _without_trace(what: str, boss: Client, address: str, form: dict[str, Any]) -> Iterator[str]:
    before = set(AuditEntry.objects.values_list("pk", flat=True))
    answer = boss.post(address, form)
    assert answer.status_code in (200, 302), f"{what}: {answer.status_code}"
    errors = answer.context.get("adminform") and answer.context["adminform"].errors if answer.context else ""
    assert answer.status_code == 302 or what.startswith("AuthToken"), f"{what}: {errors}"
    new = AuditEntry.objects.exclude(pk__in=before)
    if not new.filter(by="ada", via="admin", won=True).exists():
        yield what


def test_no_page_of_the_admin_changes_what_gives_power_without_a_trace(boss: Client) -> None:
    make_user("anna")
    assert list(unaudited(boss)) == []


def test_a_page_that_goes_around_the_audit_is_found(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_model(self: Any, request: Any, obj: Rule, form: Any, change: bool) -> None:
        if change:
            Rule.objects.filter(pk=obj.pk).update(effect=obj.effect)
        else:
            Rule.objects.bulk_create([obj])

    make_user("anna")
    monkeypatch.setattr(RuleAdmin, "save_model", save_model)
    assert set(unaudited(boss)) == {"Rule add", "Rule change"}


def test_a_model_that_is_registered_tomorrow_must_be_judged(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_user("anna")
    monkeypatch.setitem(admin.site._registry, Permission, admin.ModelAdmin(Permission, admin.site))
    assert any(line.startswith("Permission") for line in unaudited(boss))


def test_signing_somebody_out_everywhere_says_which_tokens_ended(boss: Client) -> None:
    anna = make_user("anna")
    token, key = AuthToken.objects.create(anna)
    AuditEntry.objects.all().delete()
    form = {"action": "sign_out_selected", "_selected_action": [str(anna.pk)]}
    boss.post(reverse("admin:auth_user_changelist"), form)
    assert entries() == [("token_deleted", "ada", "admin")]
    assert "of anna" in reasons()
    assert key[:16] not in reasons() and token.digest not in reasons()


# --- accounts


def test_rights_passwords_and_groups_of_an_account(boss: Client) -> None:
    anna = make_user("anna", group="Viewer")
    AuditEntry.objects.all().delete()
    anna.is_superuser, anna.is_active = True, False
    anna.save()
    anna.set_password(PASSWORD)
    anna.save()
    anna.groups.set([Group.objects.get(name="Administrator")])
    anna.user_permissions.add(Permission.objects.get(codename="add_rule"))
    anna.groups.clear()
    said = reasons().splitlines()
    assert said[0].endswith("is_active true → false; is_superuser false → true")
    assert said[1] == f"anna ({anna.pk}): password changed"
    assert said[2:4] == [f'anna ({anna.pk}): groups - ["Viewer"]', f'anna ({anna.pk}): groups + ["Administrator"]']
    assert "user_permissions + " in said[4] and "Can add rule" in said[4]
    assert said[5] == f'anna ({anna.pk}): groups - ["Administrator"]'
    assert anna.password not in reasons()


def test_the_other_end_of_a_group_counts_as_well() -> None:
    anna, group = make_user("anna"), Group.objects.get(name="Administrator")
    AuditEntry.objects.all().delete()
    group.user_set.add(anna)
    group.user_set.remove(anna)
    group.user_set.remove(anna)  # nothing changes
    group.permissions.add(Permission.objects.get(codename="add_rule"))
    assert [action for action, *_ in entries()] == ["group_changed"] * 3
    assert 'user_set + ["anna"]' in reasons()
    group.user_set.add(anna)
    group.delete()
    assert 'name "Administrator"' in reasons().splitlines()[-1] and '["anna"]' in reasons().splitlines()[-1]


def test_permissions_count_from_whichever_end_they_are_given() -> None:
    anna, group = make_user("anna"), Group.objects.get(name="Viewer")
    decide = permissions_of(Right.DECIDE)[0]
    AuditEntry.objects.all().delete()
    decide.group_set.add(group)
    decide.user_set.add(anna)
    decide.group_set.clear()
    assert [action for action, *_ in entries()] == ["permission_changed"] * 3
    added, own, removed = reasons().splitlines()
    assert 'group_set + ["Viewer"]' in added and 'user_set + ["anna"]' in own
    assert "group_set - " in removed and '"Viewer"' in removed and '"Approver"' in removed


def test_signing_in_is_no_change(client: Client) -> None:
    anna = make_user("anna", group="Viewer")
    anna.set_password(PASSWORD)
    anna.save()
    _, key = AuthToken.objects.create(anna, expiry=timedelta(hours=1))
    AuditEntry.objects.all().delete()
    assert client.post("/sign-in", {"username": "anna", "password": PASSWORD}).status_code == 302
    header = {"Authorization": f"Token {key}"}
    assert Client().get("/api/approvals", headers=header).status_code == 200
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert Client().get("/api/approvals", headers=header).status_code == 401
    assert not AuthToken.objects.exists(), "knox removes what has expired"
    assert entries() == []


def test_a_hash_that_became_too_cheap_is_no_new_password(client: Client, settings: Any) -> None:
    anna = make_user("anna")
    anna.set_password(PASSWORD)
    anna.save()
    AuditEntry.objects.all().delete()
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]
    client.post("/sign-in", {"username": "anna", "password": PASSWORD})
    assert reasons() == f"anna ({anna.pk}): password stored anew"


def test_a_password_that_somebody_changes_on_the_account_page(client: Client) -> None:
    anna = make_user("anna", group="Viewer")
    anna.set_password(PASSWORD)
    anna.save()
    client.force_login(anna)
    AuditEntry.objects.all().delete()
    form = {"old_password": PASSWORD, "new_password1": "another long one", "new_password2": "another long one"}
    assert client.post("/account", form).status_code == 302
    assert entries() == [("account_changed", "anna", "dashboard")]
    assert client.post("/sign-out/everywhere").status_code == 302


# --- what makes rules and schedules by itself


def test_approving_for_the_session_names_the_rule_it_makes() -> None:
    approval = make_approval(session=make_session().pk)
    decide_approval(approval_id=approval.pk, decision="approved", by="anna", via="telegram", scope="session")
    entry = AuditEntry.objects.get(action="rule_added")
    assert (entry.by, entry.via, entry.approval) == ("anna", "telegram", None)
    assert str(approval.pk) in entry.reason and str(approval.session) in entry.reason
    with pytest.raises(Exception, match="already approved"):
        decide_approval(approval_id=approval.pk, decision="approved", by="boris", via="telegram", scope="session")
    assert AuditEntry.objects.filter(action="rule_added").count() == 1, "who came too late made no rule"


def test_rules_of_a_session_that_is_started_are_one_entry(settings: Any) -> None:
    from dataclasses import replace

    settings.APPROVALS = replace(settings.APPROVALS, self_approval=True)
    client = client_of(make_user("olga", group="Administrator"))
    AuditEntry.objects.all().delete()
    body = {"prompt": "x", "agent": "demo", "allowed_tools": ["Bash(ls)", "Read"], "permission_mode": "acceptEdits"}
    answer = client.post("/api/sessions", body, format="json")
    assert answer.status_code == 201, answer.json()
    assert entries() == [("rules_added", "olga", "api")]
    assert len(reasons().splitlines()) == Rule.objects.count() > 2


def test_schedules_over_rest_and_what_mirrors_them() -> None:
    client = client_of(make_user("olga", group="Operator"))
    AuditEntry.objects.all().delete()
    body = {"session": {"prompt": "Tidy up", "agent": "demo"}, "every_seconds": 3600}
    made = client.post("/api/schedules", body, format="json").json()
    client.patch(f"/api/schedules/{made['id']}", {"enabled": False}, format="json")
    client.delete(f"/api/schedules/{made['id']}")
    assert entries() == [(f"schedule_{what}", "olga", "api") for what in ("added", "changed", "deleted")]
    assert "enabled true → false" in reasons()


def test_being_due_is_no_change() -> None:
    from sessions_app.schedules import commands as schedules

    make_user("olga", group="Operator")
    schedule = make_schedule(next_due_at=timezone.now() - timedelta(seconds=5))
    AuditEntry.objects.all().delete()
    assert schedules.start_due(schedule.pk) is not None
    assert entries() == []


def test_a_long_value_is_kept_by_its_digest_and_a_secret_not_at_all() -> None:
    Rule.objects.create(effect="allow", tool="Bash", pattern="x" * 5000, note="sk-ant-api03-abcdefgh")
    assert "5002 characters, SHA-256" in reasons()
    assert len(reasons()) < 2000
    assert "abcdefgh" not in reasons()


def test_links_to_sign_in_with() -> None:
    make_link(make_user("anna"))
    SignInLink.objects.all().delete()
    entry = AuditEntry.objects.get(action__startswith="link_")
    assert (entry.action, entry.reason.partition(" (")[0]) == ("link_added", "link for anna")


# --- the terminal


def manage(*arguments: str, stdin: str = "", **environment: str) -> str:
    """A management command as a person types it, over the test's database."""
    known = connection.settings_dict
    url = f"postgres://{known['USER']}@/{known['NAME']}?host={known['HOST'] or known['OPTIONS'].get('host', '')}"
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=os.environ | {"DATABASE_URL": url} | environment,
        input=stdin, capture_output=True, text=True, timeout=90, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.django_db(transaction=True)
def test_commands_at_a_terminal() -> None:
    manage("createsuperuser", "--noinput", "--username", "root", "--email", "r@example.com")
    key = manage("create_token", "robot", "--create", "--group", "Operator").split()[-1]
    manage("sign_in_link", "root")
    manage("changepassword", "root", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    found = entries()
    assert {via for *_, via in found} == {"cli"}
    assert all(by.startswith("shell:") for _, by, _ in found)
    actions = [action for action, *_ in found]
    assert actions[0] == "account_added" and actions[-1] == "account_changed"
    assert {"token_added", "link_added"} <= set(actions)
    assert key[:16] not in reasons() and 'groups + ["Operator"]' in reasons()
    assert f"root ({User.objects.get(username='root').pk}): password changed" in reasons()


@pytest.mark.django_db(transaction=True)
def test_orchestras_own_processes_are_the_system() -> None:
    manage("create_token", "robot", "--create", "--group", "Operator", ORCHESTRA_PROCESS="worker")
    assert {entry[1:] for entry in entries()} == {("", "system")}


def test_the_terminal_export_has_them(capsys: Any) -> None:
    Rule.objects.create(effect="allow", tool="Bash")
    chain.seal_new_entries()
    call_command("audit", "export")
    assert "rule_added" in capsys.readouterr().out
