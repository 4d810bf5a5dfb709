"""Who is not signed in is told which header is missing and where a token comes from."""

from dataclasses import replace
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.factories import make_approval, make_user, token_for

pytestmark = pytest.mark.django_db
HOW = "Send `Authorization: Token <key>`; make a key with `./manage.py create_token USER`."


def test_the_call_of_the_runbook_says_how_to_sign_in(client: Any) -> None:
    body = {"approved": True, "reason": "Manual approval due to Telegram outage"}
    answer = client.post(f"/api/approvals/{make_approval().pk}/approve", body, content_type="application/json")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Token")
    assert answer.json() == {"code": "not_authenticated", "detail": f"Unauthenticated. {HOW}"}


WRONG = ("Token wrong", "Token", "Token a b", "Bearer x", "Basic eDp5", "token \x00", "Token é")


@pytest.mark.parametrize("sent", WRONG)
def test_every_wrong_header_is_answered_by_the_right_one(client: Any, sent: str) -> None:
    answer = client.get("/api/approvals", headers={"authorization": sent})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Token")
    assert answer.json()["detail"].startswith("Unauthenticated.") and answer.json()["detail"].endswith(HOW)


def test_a_closed_account_s_token_is_wrong_like_any_other() -> None:
    user = make_user("anna")
    key = token_for(user)
    user.is_active = False
    user.save()
    answer = APIClient().get("/api/approvals", headers={"authorization": f"Token {key}"})
    assert answer.status_code == 401 and answer.json()["detail"].endswith(HOW)


def test_the_scraper_is_told_which_token_is_meant(client: Any, settings: Any) -> None:
    settings.METRICS = replace(settings.METRICS, token="figures")
    answer = client.get("/metrics")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "`Authorization: Bearer <token>`" in answer.content.decode() and "METRICS_TOKEN" in answer.content.decode()
