"""Rights are Django permissions: what an administrator changes in the admin counts on every surface."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from approvals.models import Approval, AuditEntry
from orchestra.auth.groups import group_named, groups_with, permissions_of
from orchestra.auth.permissions import BUILT_IN_GROUPS, PERMISSIONS, Right, may_by_name, rights_of
from tests.factories import client_of, make_approval, make_user

pytestmark = pytest.mark.django_db

fill_groups = import_module("orchestra.migrations.0006_permissions").fill_groups


def fresh(user: User) -> User:
    """The account as the next request reads it."""
    return User.objects.get(pk=user.pk)


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def boss() -> Client:
    return browser_of(make_user("boss", group="Administrator"))


def save_group(boss: Client, name: str, *rights: Right, group: Group | None = None) -> Group:
    """Save a group by the admin's form, as a browser does."""
    address = (
        reverse("admin:auth_group_change", args=[group.pk]) if group is not None else reverse("admin:auth_group_add")
    )
    form = {"name": name, "permissions": [permission.pk for permission in permissions_of(*rights)]}
    assert boss.post(address, form).status_code == 302
    return Group.objects.get(name=name)


def save_account(boss: Client, user: User, *rights: Right, groups: tuple[Group, ...] = ()) -> None:
    """Save an account by the admin's form."""
    form = {
        "username": user.username, "is_active": "on", "is_staff": "on" if user.is_staff else "",
        "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "groups": [group.pk for group in groups],
        "user_permissions": [permission.pk for permission in permissions_of(*rights)],
    }  # fmt: skip
    assert boss.post(reverse("admin:auth_user_change", args=[user.pk]), form).status_code == 302


def decides_in_the_console(user: User) -> bool:
    approval = make_approval()
    form = {"decision": "approve", "seen_digest": approval.input_digest}
    browser_of(user).post(f"/approvals/{approval.pk}/answer", form)
    return is_approved(approval)


def decides_over_rest(user: User) -> bool:
    approval = make_approval()
    client_of(user).post(f"/api/approvals/{approval.pk}/approve")
    return is_approved(approval)


def decides_in_the_admin(user: User) -> bool:
    approval = make_approval()
    form = {"decision": "approve", "seen_digest": approval.input_digest}
    browser_of(user).post(reverse("admin:approvals_approval_decide", args=[approval.pk]), form)
    return is_approved(approval)


def is_approved(approval: Approval) -> bool:
    return Approval.objects.get(pk=approval.pk).status == "approved"


SURFACES = (decides_in_the_console, decides_over_rest, decides_in_the_admin)


@pytest.mark.parametrize("decides", SURFACES)
def test_a_group_made_in_the_admin_lets_its_members_decide_at_once(boss: Client, decides: Any) -> None:
    anna = make_user("anna", is_staff=True)
    assert not decides(anna)
    save_account(boss, anna, groups=(save_group(boss, "Night shift", Right.DECIDE),))
    assert decides(anna)


@pytest.mark.parametrize("decides", SURFACES)
def test_a_permission_of_the_account_itself_counts_at_once(boss: Client, decides: Any) -> None:
    anna = make_user("anna", is_staff=True)
    save_account(boss, anna, Right.DECIDE)
    assert decides(anna)
    save_account(boss, anna)
    assert not decides(anna)


@pytest.mark.parametrize("decides", SURFACES)
def test_a_permission_taken_from_a_built_in_group_is_gone_everywhere(boss: Client, decides: Any) -> None:
    anna = make_user("anna", group="Approver", is_staff=True)
    assert decides(anna)
    save_group(boss, "Approver", Right.READ, group=Group.objects.get(name="Approver"))
    assert not decides(anna)
    assert rights_of(fresh(anna)) == {Right.READ}


def test_the_right_to_decide_opens_nothing_else(boss: Client) -> None:
    anna = make_user("anna", is_staff=True)
    anna.groups.add(save_group(boss, "Night shift", Right.DECIDE))
    approval, browser, rest = make_approval(), browser_of(anna), client_of(anna)
    assert rights_of(fresh(anna)) == {Right.DECIDE}
    for page in ("/", "/sessions", "/sessions/new", f"/approvals/{approval.pk}", "/diagnostics"):
        assert browser.get(page).status_code == 403, page
    for table in ("approvals_approval", "sessions_app_agentsession", "auth_group", "auth_user", "orchestra_lease"):
        assert browser.get(reverse(f"admin:{table}_changelist")).status_code == 403, table
    for path in ("/api/approvals", "/api/sessions", "/api/diagnostics/workers"):
        assert rest.get(path).status_code == 403, path
    for path, body in (("/api/sessions", {"prompt": "x"}), ("/api/approvals", {"title": "May I?"})):
        assert rest.post(path, body, format="json").status_code == 403, path


def test_one_right_holds_without_the_others(boss: Client) -> None:
    for right in Right:
        user = make_user(f"only-{right}")
        user.groups.add(save_group(boss, f"Only {right}", right))
        assert rights_of(fresh(user)) == {right}
        assert [one for one in Right if may_by_name(user.username, one)] == [right]


@pytest.mark.parametrize("way", ["group", "own"])
def test_rights_read_in_sql_follow_the_permissions(way: str) -> None:
    anna = make_user("anna")
    make_user("boris", group="Administrator")
    for right in Right:
        held: Any = anna.user_permissions
        if way == "group":
            group, _ = Group.objects.get_or_create(name="Night shift")
            anna.groups.add(group)
            held = group.permissions
        held.set(permissions_of(right))
        assert {one for one in Right if may_by_name("anna", one)} == {right} == rights_of(fresh(anna))


def test_permissions_are_read_by_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    anna = fresh(make_user("anna", group="Operator"))
    with django_assert_num_queries(1):
        assert rights_of(anna) == rights_of(anna) == {Right.READ, Right.OPERATE}
    with django_assert_num_queries(0):
        assert rights_of(make_superuser_in_memory()) == set(Right)


def make_superuser_in_memory() -> User:
    return User(username="root", is_superuser=True)


def test_an_administrator_holds_the_permissions_of_other_tables_and_nobody_else_does() -> None:
    ada, anna = make_user(group="Administrator"), make_user(group="Approver")
    assert ada.has_perm("django_celery_beat.change_periodictask") and ada.has_module_perms("django_celery_beat")
    assert not anna.has_perm("django_celery_beat.change_periodictask")
    assert not anna.has_module_perms("django_celery_beat")


def test_an_administrator_may_be_denied_a_right() -> None:
    ada = make_user(group="Administrator")
    Group.objects.get(name="Administrator").permissions.remove(*permissions_of(Right.DECIDE))
    assert rights_of(fresh(ada)) == set(Right) - {Right.DECIDE}


# --- the admin's forms


def test_a_form_offers_the_rights_in_words_and_keeps_other_permissions(boss: Client) -> None:
    anna, other = make_user("anna"), Permission.objects.get(codename="add_rule")
    group = group_named("Viewer")
    group.permissions.add(other)
    anna.user_permissions.add(other)
    page = boss.get(reverse("admin:auth_group_change", args=[group.pk])).content.decode()
    assert all(right.label in page for right in Right)
    assert "Can add rule" not in page
    save_group(boss, "Viewer", Right.OPERATE, group=group)
    save_account(boss, anna, Right.ASK)
    assert set(group.permissions.values_list("codename", flat=True)) == {"add_rule", "operate_agentsession"}
    assert set(anna.user_permissions.values_list("codename", flat=True)) == {"add_rule", "request_approval"}


def test_a_change_of_permissions_is_in_the_audit(boss: Client) -> None:
    group, anna = save_group(boss, "Night shift", Right.DECIDE), make_user("anna")
    AuditEntry.objects.all().delete()
    save_group(boss, "Night shift", Right.READ, group=group)
    save_account(boss, anna, Right.DECIDE)
    actions = set(AuditEntry.objects.values_list("action", "by", "via"))
    assert actions == {("group_changed", "boss", "admin"), ("account_changed", "boss", "admin")}
    said = "\n".join(AuditEntry.objects.order_by("id").values_list("reason", flat=True))
    assert "Can answer approvals" in said and "Can view approval" in said


def test_every_change_of_permissions_is_announced_to_open_sockets() -> None:
    anna, group, read = make_user("anna"), group_named("Viewer"), permissions_of(Right.READ)[0]
    changes: dict[str, Any] = {
        "taken from a group": lambda: group.permissions.remove(read),
        "given to a group": lambda: read.group_set.add(group),
        "given to an account": lambda: anna.user_permissions.add(read),
        "taken from an account": lambda: anna.user_permissions.clear(),
        "a group is deleted": lambda: group.delete(),
    }
    for what, change in changes.items():
        with CaptureQueriesContext(connection) as statements:
            change()
        assert any("pg_notify" in one["sql"] and "person" in one["sql"] for one in statements), what


# --- words


def test_pages_name_the_groups_of_their_reader_and_those_that_would_help(boss: Client) -> None:
    anna = make_user("anna")
    save_account(boss, anna, groups=(save_group(boss, "Night shift", Right.DECIDE), group_named("Asker")))
    save_group(boss, "Onlookers", Right.READ)
    refused = browser_of(anna).get("/").content.decode()
    assert "(Asker, Night shift)" in refused
    assert "add you to a group that has it: Viewer, Operator, Approver, Administrator, Onlookers." in refused


def test_pages_work_without_any_group() -> None:
    anna = make_user("anna")
    anna.user_permissions.set(permissions_of(Right.ASK))
    Group.objects.all().delete()
    refused = browser_of(anna).get("/").content.decode()
    assert "(Own permissions)" in refused
    assert "group that has it" not in refused
    assert groups_with(Right.READ) == []


# --- the built-in groups


def test_every_right_is_a_permission_that_a_model_declares() -> None:
    assert set(PERMISSIONS) == set(Right)
    for right in Right:
        assert permissions_of(right).count() == 1, right


def test_the_groups_start_with_their_rights() -> None:
    for name, rights in BUILT_IN_GROUPS.items():
        assert rights_of(make_user(group=name)) == rights


def test_a_built_in_group_that_was_deleted_comes_back_with_its_rights() -> None:
    Group.objects.get(name="Asker").delete()
    assert set(group_named("Asker").permissions.all()) == set(permissions_of(Right.ASK))
    Group.objects.get(name="Asker").permissions.clear()
    assert not group_named("Asker").permissions.exists(), "what an administrator took away stays away"


def test_the_migration_gives_groups_what_their_names_meant_and_takes_nothing() -> None:
    """As on an installation of before: groups without permissions, and no row for the new permissions."""
    other = Permission.objects.get(codename="add_rule")
    Permission.objects.filter(pk__in=permissions_of(*Right).exclude(codename="view_approval").values("pk")).delete()
    for group in Group.objects.all():
        group.permissions.set([other] if group.name == "Viewer" else [])
    Group.objects.get(name="Asker").delete()
    own = Group.objects.create(name="Night shift")
    for _ in range(2):
        fill_groups(apps, None)
        for name, rights in BUILT_IN_GROUPS.items():
            if name != "Asker":
                assert set(Group.objects.get(name=name).permissions.exclude(pk=other.pk)) == set(
                    permissions_of(*rights)
                )
        assert other in Group.objects.get(name="Viewer").permissions.all()
        assert not own.permissions.exists()
        assert not Group.objects.filter(name="Asker").exists()


BEFORE = ("approvals 0012", "sessions_app 0011", "orchestra 0005")
FILL = """
from django.contrib.auth.models import Group, Permission, User
for group in Group.objects.all():
    User.objects.create(username=group.name.lower()).groups.add(group)
User.objects.create(username="nobody")
view = Permission.objects.get(codename="view_approval")  # it allowed nothing before
User.objects.create(username="with-view").user_permissions.add(view)
own = Group.objects.create(name="Night shift")
own.permissions.add(view, Permission.objects.get(codename="add_rule"))
User.objects.create(username="with-group").groups.add(own)
"""
READ = """
from django.contrib.auth.models import Group, User
from orchestra.auth.permissions import rights_of, may_by_name, Right
for user in User.objects.order_by("username"):
    assert rights_of(user) == {right for right in Right if may_by_name(user.username, right)}
    print(user.username, *sorted(rights_of(user)))
print(*Group.objects.get(name="Night shift").permissions.values_list("codename", flat=True))
"""


def test_everybody_keeps_their_rights_when_an_installation_is_brought_up_to_date(tmp_path: Path) -> None:
    own = {"DATABASE_URL": "", "REDIS_URL": "", "ORCHESTRA_DATA_DIR": str(tmp_path / "var")}

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=os.environ | own, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    for target in BEFORE:
        manage("migrate", "-v0", *target.split())
    manage("shell", "-v0", "-c", FILL)
    manage("migrate", "-v0")
    assert manage("shell", "-v0", "-c", READ).splitlines() == [
        "administrator administer ask decide operate read",
        "approver decide read",
        "asker ask",
        "nobody",
        "operator operate read",
        "viewer read",
        "with-group",
        "with-view",
        "add_rule",
    ]
