"""Figures about answers: counted right, whoever answered, and the same on every page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals.models import Approval
from approvals.statistics import (
    MOST_DECISIONS,
    chapter,
    decisions_by_person,
    newest_decisions,
    outcomes_per_slot,
    percentile,
    queue_sizes,
)
from orchestra.statistics import PERIODS, Period, format_duration, period_of
from sessions_app.statistics import cost
from tests.factories import make_approval, make_turn, make_user

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 25, 8, 10, tzinfo=UTC)


def period(key: str = "7d") -> Period:
    return Period(key, *PERIODS[key], now=NOW)


def closed(status: str, *, ago: timedelta, after: float = 30, by: str = "anna", via: str = "dashboard") -> Approval:
    """A question that was answered ``ago`` before NOW, ``after`` seconds after it was asked."""
    decided = NOW - ago
    approval = make_approval(status=status, decided_at=decided, decided_by=by, decided_via=via)
    Approval.objects.filter(pk=approval.pk).update(created_at=decided - timedelta(seconds=after))
    return approval


def test_outcomes_fall_into_their_days_and_rules_are_told_apart() -> None:
    closed("approved", ago=timedelta(hours=1))
    closed("approved", ago=timedelta(hours=9))  # yesterday, in UTC
    closed("rejected", ago=timedelta(days=6, hours=8))
    closed("expired", ago=timedelta(minutes=1), via="", by="")
    closed("approved", ago=timedelta(hours=1), via="policy", by="", after=0)
    closed("approved", ago=timedelta(days=8))  # before the period
    found = outcomes_per_slot(period())
    assert found["approved"] == [0, 0, 0, 0, 0, 1, 1]
    assert found["rejected"] == [1, 0, 0, 0, 0, 0, 0]
    assert found["expired"] == [0, 0, 0, 0, 0, 0, 1]
    assert found["by rule"] == [0, 0, 0, 0, 0, 0, 1]


def test_hours_begin_on_the_hour() -> None:
    closed("approved", ago=timedelta(minutes=9))
    closed("approved", ago=timedelta(minutes=11))
    assert outcomes_per_slot(period("24h"))["approved"][-2:] == [1, 1]
    assert period("24h").labels[-2:] == ["07:00", "08:00"]


def test_the_queue_is_counted_backwards_from_now() -> None:
    Approval.objects.filter(pk=make_approval().pk).update(created_at=NOW - timedelta(days=2))
    closed("approved", ago=timedelta(days=1), after=2 * 24 * 3600)  # waited two days
    closed("approved", ago=timedelta(days=1), via="policy", by="", after=0)
    assert queue_sizes(period(), outcomes_per_slot(period())) == [0, 0, 0, 1, 2, 1, 1]


def test_percentiles_are_those_of_people() -> None:
    for number in range(1, 101):
        closed("approved", ago=timedelta(minutes=number), after=number)
    closed("approved", ago=timedelta(minutes=1), after=9999, via="policy", by="")
    closed("expired", ago=timedelta(minutes=1), after=9999, by="", via="")
    seconds = sorted(answer.seconds for answer in newest_decisions(period()))
    assert [round(percentile(seconds, share) or 0) for share in (50, 95, 99)] == [50, 95, 99]
    assert percentile([], 50) is None
    assert [percentile([7.0], share) for share in (50, 99)] == [7.0, 7.0]


def test_who_answers_too_quickly_is_shown() -> None:
    for after in (1, 1, 30):
        closed("approved", ago=timedelta(hours=1), after=after, by="otto", via="telegram")
    for status in ("approved", "rejected", "rejected", "rejected"):
        closed(status, ago=timedelta(hours=2), by="anna")
    anna, otto = decisions_by_person(newest_decisions(period()))
    assert (anna.name, anna.answers, anna.percent_rejected, anna.too_hasty) == ("anna", 4, 75, False)
    assert (otto.percent_hasty, otto.too_hasty, otto.surfaces, otto.median) == (67, True, "Telegram 3", "1.0 s")


def test_no_more_than_so_many_answers_are_read(django_assert_max_num_queries: Any) -> None:
    closed("approved", ago=timedelta(hours=1))
    with django_assert_max_num_queries(4) as seen:
        chapter(period())
    assert any(f"LIMIT {MOST_DECISIONS}" in query["sql"] for query in seen.captured_queries)


def test_cost_falls_on_the_day_a_turn_ended() -> None:
    for ago, dollars in ((timedelta(hours=1), 0.25), (timedelta(hours=2), 0.5), (timedelta(days=1), 2.0)):
        make_turn(status="completed", finished_at=NOW - ago, cost_usd=dollars)
    make_turn(status="running", cost_usd=9.0)
    assert cost(period()) == [0, 0, 0, 0, 0, 2.0, 0.75]


@pytest.mark.parametrize(("seconds", "words"), [(0.44, "0.4 s"), (48, "48 s"), (235, "3:55 min"), (4200, "1 h 10 min")])
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


@pytest.mark.parametrize("key", [*PERIODS, "nonsense"])
def test_the_page_says_the_same_in_a_sentence_a_plot_and_a_table(client: Client, key: str) -> None:
    client.force_login(make_user(group="Viewer"))
    approval = make_approval(status="approved", decided_by="<b>evil</b>\u202e", decided_via="dashboard")
    Approval.objects.filter(pk=approval.pk).update(created_at=timezone.now() - timedelta(minutes=2))
    page = client.get("/statistics", {"period": key}).content.decode()
    assert page.count('data-plot="') == 2, "nothing cost anything and nothing waits"
    assert page.count("<summary>As a table</summary>") == 4
    assert "2:00 min" in page
    assert "&lt;b&gt;evil&lt;/b&gt;\\u202e" in page
    assert period_of(key).word in page


def test_an_empty_house_draws_nothing(client: Client) -> None:
    client.force_login(make_user(group="Viewer"))
    page = client.get("/statistics").content.decode()
    assert "Nobody decided a request in the last 7 days" in page
    assert 'data-plot="' not in page
