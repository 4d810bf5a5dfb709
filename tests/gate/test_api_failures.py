"""How the real CLI tells that the model's API gave no answer, and what becomes of it."""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from sessions_app.models import Event, Turn
from tests.dialog import Start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

HOURS = 3 * 3600
NO_CREDIT = "Your credit balance is too low to access the Anthropic API."


@dataclass(frozen=True)
class Failure:
    """What the API answers, for ever, and how the turn must end."""

    answer: dict[str, Any]
    code: str
    says: str


FAILURES = [
    Failure({"text": "I begin", "stop_reason": "refusal"}, "model_refused", "another model"),
    Failure({"text": "half", "stop_reason": "max_tokens"}, "output_too_long", "smaller pieces"),
    Failure({"text": "half", "stop_reason": "model_context_window_exceeded"}, "prompt_too_long", "/clear"),
    Failure(
        {"error": 400, "message": "prompt is too long: 210000 tokens > 200000 maximum"}, "prompt_too_long", "/clear"
    ),
    Failure({"error": 400, "message": NO_CREDIT}, "api_billing", "credit"),
    Failure({"error": 400, "message": "messages.0: odd"}, "api_error", "messages.0: odd"),
    Failure({"error": 401, "message": "invalid x-api-key"}, "api_unauthorized", "log the CLI in"),
    Failure({"error": 403, "message": "no permission"}, "api_unauthorized", "log the CLI in"),
    Failure({"error": 404, "message": "model: claude-nonesuch"}, "model_not_found", "/model"),
    Failure({"error": 413, "message": "too large"}, "request_too_large", "/clear"),
    Failure({"error": 429, "message": "slow down", "retry_after": 5400}, "api_rate_limited", "try again later"),
    Failure({"error": 500, "message": "Internal server error"}, "api_error", "status 500"),
    Failure({"error": 529, "message": "Overloaded"}, "api_overloaded", "in some minutes"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda one: f"{one.code} {one.answer.get('error', '')}".strip())
def test_a_failing_api_ends_the_turn_with_what_was_decided_for_it(start: Start, failure: Failure) -> None:
    turn = start([{**failure.answer, "repeat": 0}]).end()
    assert (turn.status, turn.failure_code) == ("failed", failure.code)
    assert failure.says in turn.failure_detail


def test_an_unreachable_api_is_told_as_such(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    turn = start(["never"]).end()
    assert turn.failure_code == "api_unreachable"
    assert "ECONNREFUSED" in turn.failure_detail and "network and proxy" in turn.failure_detail


def test_an_account_that_used_up_its_limit_says_when_it_may_go_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-" + "x" * 80)
    resets_at = int(time.time()) + HOURS
    headers = {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": str(resets_at),
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
    }
    turn = start([{"error": 429, "message": "limit", "retry_after": HOURS, "headers": headers, "repeat": 0}]).end()
    moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(resets_at))
    assert turn.failure_code == "api_rate_limited"
    assert f"may go on at {moment}" in turn.failure_detail
    assert Event.objects.filter(kind="system", payload__contains=f"begins anew at {moment}").exists()


def test_a_cli_that_is_not_logged_in_says_who_where_and_the_command(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    start(["never"]).end()
    turn = Turn.objects.get()
    assert turn.failure_code == "not_logged_in"
    assert "auth login" in turn.failure_detail and "HOME" in turn.failure_detail
