"""Floods over REST."""

from dataclasses import replace
from typing import Any

import pytest
from rest_framework.test import APIClient

from approvals.models import Approval
from orchestra.rest.throttles import Throttle
from tests.factories import client_of, make_approval, make_user

pytestmark = pytest.mark.django_db
MOST = 20


@pytest.fixture(autouse=True)
def limits(settings: Any) -> None:
    settings.ORCHESTRA = replace(settings.ORCHESTRA, writes_per_minute=MOST)
    Throttle.cache.clear()


@pytest.fixture
def ada() -> APIClient:
    return client_of(make_user("ada", group="Administrator"))


def ask(client: APIClient) -> Any:
    return client.post("/api/approvals", {"title": "May I?"}, format="json")


def test_a_flood_is_told_when_to_come_back_and_hinders_nobody_else(ada: APIClient) -> None:
    assert [ask(ada).status_code for _ in range(MOST)] == [201] * MOST
    refused = ask(ada)
    assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert Approval.objects.count() == MOST
    assert ada.get("/api/approvals").status_code == 200
    assert ask(client_of(make_user("bot", group="Asker"))).status_code == 201


def test_a_first_answer_and_a_first_cancel_are_never_held_up(ada: APIClient) -> None:
    while ask(ada).status_code == 201:
        pass
    for number in range(2 * MOST):
        path = f"/api/approvals/{make_approval(requested_by='olga').pk}/{('approve', 'reject', 'cancel')[number % 3]}"
        assert ada.post(path, {}, format="json").status_code == 200


def test_the_same_answer_over_and_over_is_a_flood_however_it_is_spelled(ada: APIClient) -> None:
    path = f"/api/approvals/{make_approval(requested_by='olga').pk}/approve"
    codes = [ada.post(path + "/" * (number % 2), {}, format="json").status_code for number in range(4)]
    assert codes == [200, 200, 429, 429]


def test_a_limit_below_ten_still_limits_repetitions(ada: APIClient, settings: Any) -> None:
    settings.ORCHESTRA = replace(settings.ORCHESTRA, writes_per_minute=5)
    path = f"/api/approvals/{make_approval(requested_by='olga').pk}/approve"
    assert [ada.post(path, {}, format="json").status_code for _ in range(3)] == [200, 429, 429]


def test_there_may_be_no_limit(ada: APIClient, settings: Any) -> None:
    settings.ORCHESTRA = replace(settings.ORCHESTRA, writes_per_minute=0)
    assert {ask(ada).status_code for _ in range(MOST + 5)} == {201}
