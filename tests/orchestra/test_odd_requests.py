"""Whatever is written into an address or a form, nobody is answered by an error of ours: every route, every role."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from approvals.models import Rule
from escalation.models import Approver
from sessions_app.models import Schedule
from tests.factories import make_approval, make_session, make_turn, make_user

pytestmark = pytest.mark.django_db
ROLES = ("Viewer", "Operator", "Approver", "Asker", "Administrator")
HUGE = "9" * 30
ODD_VALUES = {"Administrator": ("a\x00b", HUGE, "-1", "nan", "not-a-uuid", ""), "Viewer": (HUGE, "not-a-uuid")}
NAMES = {
    "q", "p", "o", "all", "e", "_to_field", "_popup", "_changelist_filters", "page", "page_size", "search", "status",
    "ordering", "wait", "after", "limit", "period", "next", "as", "session", "tool", "risk", "whole", "pk__in",
    "id__exact", "id__gt", "pk", "created_at__year", "created_at__gte", "decided_at__date", "user__id__exact",
    "legal_hold__exact",
    "no_such_field", "no_such_field__exact", "title__regex", "title__nosuch", "is_active__exact", "approval__id",
    "status__exact", "status__in", "app_label", "model_name", "field_name", "term",
}  # fmt: skip


def routes() -> list[str]:
    """Every route as the URL resolver knows it, with its parameters still in it."""
    return sorted(set(_routes(get_resolver().url_patterns, "")))


def _routes(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        text = str(pattern.pattern)
        whole = prefix + text
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, whole)
        elif "static" not in whole:
            yield whole


def filled(route: str, value: str) -> str:
    """The address of a route with ``value`` in the place of its parameters."""
    bare = re.sub(r"\(\?P<[^>]+>(?:\[[^\]]*\]|[^()])*\)|<[^>]+>", lambda _: value, route)
    return "/" + re.sub(r"\^|\\Z|/\?|\$|\\", "", bare).lstrip("/")


@pytest.fixture
def addresses() -> list[str]:
    """One address of every route, of a row that it shows where there is one; the description of the API is slow."""
    user = make_user("olga", group="Operator")
    session, approval = make_session(requested_by="olga"), make_approval()
    schedule = Schedule.objects.create(
        title="Nightly", session={"prompt": "x", "allowed_tools": ["Read"]}, cron="0 3 * * *", requested_by="olga"
    )
    rows = {
        "approver": Approver.objects.create(user=user), "rule": Rule.objects.create(effect="deny", tool="Bash"),
        "turn": make_turn(session), "schedule": schedule, "user": user, "session": session, "": approval,
    }  # fmt: skip
    known = [route for route in routes() if "schema" not in route]
    return [filled(route, str(next(row.pk for word, row in rows.items() if word in route))) for route in known]


def browser(role: str, *, staff: bool = True) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(make_user(group=role, is_staff=staff))
    return client


def broken(answer: Any) -> bool:
    return bool(answer.status_code >= 500)


@pytest.mark.parametrize("role", ["nobody", *ROLES])
def test_every_page_of_every_row_opens_or_refuses_for_every_role(role: str, addresses: list[str]) -> None:
    client = browser("" if role == "nobody" else role)
    paths = [*addresses, *(filled(route, str(uuid4())) for route in routes() if re.search(r"[(<]", route))]
    assert not [path for path in paths if broken(client.get(path))]


@pytest.mark.parametrize("role", ODD_VALUES)
def test_odd_parameters_in_an_address_are_no_error_of_ours(role: str, addresses: list[str]) -> None:
    client = browser(role)
    bad = []
    for path in addresses:
        for value in ODD_VALUES[role]:
            asked = dict.fromkeys(NAMES, value)
            bad += [f"{path} with {value[:20]!r}" for answer in [client.get(path, asked)] if broken(answer)]
    assert not bad


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_every_filter_of_the_admin_takes_every_value(model: Any) -> None:
    """One at a time: the first that is wrong hides the others."""
    client = browser("Administrator")
    path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    fields = [field.name for field in model._meta.concrete_fields]
    names = [f"{name}__{lookup}" for name in fields for lookup in ("exact", "gt", "isnull")]
    bad = []
    for name in [*names, "p", "o", "all", "q", "_to_field"]:
        for value in (HUGE, "not-a-uuid"):
            bad += [f"{path}?{name}={value!r}" for answer in [client.get(path, {name: value})] if broken(answer)]
    assert not bad


@pytest.mark.parametrize(
    "value", ["%00", "a%00b", HUGE, "not-a-uuid", "%ff%fe", "..%2f..", "é", "x" * 3000, "_3A_2F", "%0a"]
)
def test_odd_values_in_a_path_are_no_error_of_ours(value: str) -> None:
    client = browser("Administrator")
    paths = [filled(route, value) for route in routes() if re.search(r"[(<]", route)]
    for method in ("get", "post"):
        assert not [path for path in paths if broken(getattr(client, method)(path))]


ODD_FORMS = [("Administrator", value) for value in ("\x00", HUGE, "not-a-uuid", "", "\ud800")] + [("Approver", "\x00")]


@pytest.mark.parametrize(("role", "value"), ODD_FORMS, ids=ascii)
def test_odd_forms_are_no_error_of_ours(role: str, value: str, addresses: list[str]) -> None:
    client = browser(role)
    names = {"decision", "reason", "updated_input", "seen_digest", "ids", "confirmed", "index", "select_across", "next"}
    names |= {
        "_selected_action",
        "username",
        "password",
        "prompt",
        "title",
        "cron",
        "every_seconds",
        "timezone",
        "tool",
    }
    names |= {"working_directory", "approval_timeout_minutes", "max_turns", "old_password", "new_password1", "user"}
    text = value.encode("utf-8", "surrogatepass").decode("latin1")
    body = "&".join(f"{name}={_quoted(text)}" for name in sorted(names))
    bad = []
    for path in addresses:
        for more in ("", *(f"&action={name}" for name in _actions_of(path))):
            answer = client.post(path, body + more, content_type="application/x-www-form-urlencoded")
            bad += [path + more] if broken(answer) else []
        if "sign-out" in path or "account" in path:
            client = browser(role)
    assert not bad


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("latin1"))


def _actions_of(path: str) -> list[str]:
    """The actions of the admin's list at ``path``."""
    for model, page in admin.site._registry.items():
        if path == f"/admin/{model._meta.app_label}/{model._meta.model_name}/":
            return [name if isinstance(name, str) else name.__name__ for name in page.actions or ()] + [
                "delete_selected"
            ]
    return []


ODD_BODIES = [
    None, True, 1, "x", [], {}, {"update_id": None}, {"update_id": 1.5}, {"update_id": 2**63}, {"update_id": -(2**63)},
    {"update_id": True}, {"update_id": []}, {"update_id": 1, "callback_query": None},
    {"update_id": 2, "callback_query": []},
    {"update_id": 3, "callback_query": {}}, {"update_id": 4, "callback_query": {"id": None}},
    {"update_id": 5, "callback_query": {"id": {"a": 1}}}, {"update_id": 6, "callback_query": {"id": "\x00"}},
    {"update_id": 7, "callback_query": {"id": "\ud800"}}, {"update_id": 8, "callback_query": {"id": "x" * 200}},
    {"update_id": 9, "message": None}, {"update_id": 10, "message": {"text": "\x00"}},
    {"update_id": 11, "\x00": "\ud800"},
]  # fmt: skip
DEEP = b"[" * 900 + b"]" * 900
RAW_BODIES = [
    b"", b"\xff\xfe", b"{", b"[" * 100_000, b'{"update_id": 13, "a": ' + DEEP + b"}", b"NaN", b"\x00",
    b'{"update_id": 12, "a": NaN}', b'{"update_id": ' + b"9" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", [*(json.dumps(body).encode() for body in ODD_BODIES), *RAW_BODIES])
def test_no_update_of_telegram_s_is_an_error_of_ours(body: bytes, settings: Any) -> None:
    settings.TELEGRAM = replace(
        settings.TELEGRAM, enabled=True, token="1:x", chat="-1", mode="webhook", webhook_secret="s" * 20
    )
    assert settings.TELEGRAM.configured
    answer = Client(raise_request_exception=False).post(
        "/api/telegram/webhook", body, content_type="application/json",
        headers={"X-Telegram-Bot-Api-Secret-Token": "s" * 20},
    )  # fmt: skip
    assert answer.status_code == 200
