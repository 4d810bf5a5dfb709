"""A field that nobody reads is refused by its name: a misspelt edit must not approve the original."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from django.urls import get_resolver
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient

from orchestra.realtime import registry
from orchestra.realtime.registry import Caller
from tests.factories import make_approval, make_session, make_user, token_for

pytestmark = pytest.mark.django_db
ODD = {"updated_inptu": {}, "decided_by": "eve", "": 1, "\x00": 1, "\ud800": 1, "x" * 10_000: 1}


@pytest.fixture
def admin() -> APIClient:
    user = make_user("ada", group="Administrator")
    return APIClient(headers={"authorization": f"Token {token_for(user)}"})


def writing_routes() -> list[str]:
    """Every POST route below /api that takes JSON of ours."""
    found = []
    for prefix in get_resolver().url_patterns:
        for route in getattr(prefix, "url_patterns", []):
            actions = getattr(route.callback, "actions", None) or {}
            if str(prefix.pattern) == "api/" and "post" in actions:
                found.append(str(route.pattern))
    return found


def test_every_writing_route_refuses_what_it_does_not_know(admin: APIClient) -> None:
    ids = {"sessions": make_session().pk, "approvals": make_approval().pk}
    routes = writing_routes()
    assert len(routes) >= 10
    for route in routes:
        kind = route.strip("^").split("/")[0]
        path = route.strip("^$").replace("/?", "").replace("(?P<pk>[^/.]+)", str(ids.get(kind, "0")))
        answer = admin.post(f"/api/{path}", {"no_such_field": 1}, format="json")
        assert answer.status_code == 400, path
        assert "no_such_field" in answer.json()["fields"], path


@pytest.mark.parametrize("act", ["approve", "reject", "cancel", "extend"])
@pytest.mark.parametrize("name", ODD, ids=lambda name: name[:20].encode("unicode_escape").decode())
def test_a_misspelt_field_decides_nothing(admin: APIClient, act: str, name: str) -> None:
    approval = make_approval(requested_by="ada")
    body = json.dumps({name: ODD[name], **({"minutes": 1} if act == "extend" else {})})
    answer = admin.post(f"/api/approvals/{approval.pk}/{act}", body, content_type="application/json")
    complaint = "This takes no fields" if act == "cancel" else "There is no such field"
    assert answer.status_code == 400 and complaint in str(answer.json()["fields"])
    approval.refresh_from_db()
    assert approval.is_open


def test_the_nearest_field_is_named(admin: APIClient) -> None:
    answer = admin.post(f"/api/approvals/{make_approval().pk}/approve", {"updated_inptu": {}}, format="json")
    assert "updated_inptu: There is no such field. Did you mean updated_input?" in answer.json()["detail"]


def test_fields_of_nested_objects_count_too(admin: APIClient) -> None:
    body = {"session": {"prompt": "x", "permision_mode": "plan"}, "cron": "0 3 * * *"}
    answer = admin.post("/api/schedules", body, format="json")
    assert answer.json()["fields"] == {
        "session.permision_mode": ["There is no such field. Did you mean permission_mode?"]
    }


@pytest.mark.parametrize("kind", ["decide", "start_session", "send_message", "cancel_session"])
def test_the_hub_is_as_strict(kind: str) -> None:
    fitting: Mapping[str, Any] = {
        "decide": {"approval": str(make_approval().pk), "approved": True},
        "start_session": {"prompt": "x"},
        "send_message": {"session": "x", "prompt": "x"},
        "cancel_session": {"session": "x"},
    }[kind]
    caller = Caller(make_user("ada", group="Administrator"), "127.0.0.1", by_cookie=False)
    with pytest.raises(ValidationError, match="no such field"):
        registry.commands[kind].run(caller, {**fitting, "updated_inptu": {}})
