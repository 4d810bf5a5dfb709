"""Each way in which the model's API fails, as the CLI tells it: the code, the cause and the cure.

The bodies are what 2.1.309, 2.1.330 and 2.1.332 printed for a scripted API (2.1.309 without ``api_error_type``).
"""

from pathlib import Path
from typing import Any

import pytest

from sessions_app.models import Turn
from sessions_app.supervisor.cli.api_failures import RESETS_AT, shown_time
from sessions_app.supervisor.cli.protocol import OutputMessage, Result
from sessions_app.supervisor.outcomes import from_result
from sessions_app.supervisor.transcript_lines import resets_at, transcript_lines

FLAGGED = "API Error: Opus 5.5's safeguards flagged this message (https://www.anthropic.com/legal/aup)."
SELF_SIGNED = "API Error: Unable to connect to API: Self-signed certificate detected (DEPTH_ZERO_SELF_SIGNED_CERT)."
REGAIN = "API Error: 400 You have reached your specified API usage limits. You will regain access on 2026-12-01."


def failed(status: int | None, text: str, *, reason: str = "api_error", **more: Any) -> dict[str, Any]:
    body = {"is_error": True, "subtype": "success", "terminal_reason": reason, "stop_reason": "stop_sequence"}
    return {**body, "api_error_status": status, "result": text, **more}


FAILURES = [
    (failed(None, FLAGGED, stop_reason="refusal"), "model_refused", "another model with /model"),
    (failed(None, "Not logged in · Please run /login"), "not_logged_in", "not logged in"),
    (failed(400, "Prompt is too long", reason="prompt_too_long"), "prompt_too_long", "send /clear"),
    (failed(None, "API Error: The model has reached its context window limit."), "prompt_too_long", "send /clear"),
    (failed(413, "Request too large (max 32MB).", reason="image_error"), "request_too_large", "send /clear"),
    (
        failed(None, "API Error: Claude's response exceeded the 128000 output token maximum."),
        "output_too_long",
        "in smaller pieces",
    ),
    (failed(400, "Credit balance is too low"), "api_billing", "buy credit"),
    (failed(402, "API Error: 402 Payment required", api_error_type="billing_error"), "api_billing", "buy credit"),
    (failed(400, REGAIN), "api_rate_limited", "regain access on 2026-12-01"),
    (
        failed(400, "Your ANTHROPIC_API_KEY belongs to a disabled organization", api_error="org_disabled_credential"),
        "api_unauthorized",
        "use another",
    ),
    (failed(400, "API Error: 400 messages.0: odd"), "api_error", "refused the request with status 400"),
    (failed(401, "Invalid API key · Fix external API key"), "api_unauthorized", "log the CLI in again"),
    (failed(403, "Failed to authenticate. API Error: 403 x"), "api_unauthorized", "log the CLI in again"),
    (
        failed(404, "There's an issue with the selected model (claude-nonesuch). It may not exist"),
        "model_not_found",
        "no model “claude-nonesuch”",
    ),
    (failed(429, "API Error: Request rejected (429) · x"), "api_rate_limited", "does not say until when"),
    (
        failed(429, "You've hit your 5-hour limit · resets 2:08pm (UTC)", **{RESETS_AT: 1795961310}),
        "api_rate_limited",
        "may go on at 2026-11-29 14:08 UTC",
    ),
    (failed(500, "API Error: 500 Internal server error."), "api_error", "try again later"),
    (failed(504, "API Error: 504 Timed out."), "api_error", "try again later"),
    (failed(529, "API Error: Repeated 529 Overloaded errors."), "api_overloaded", "in some minutes"),
    (failed(None, "API Error: Connection refused (ECONNREFUSED)"), "api_unreachable", "network and proxy"),
    (failed(None, "API Error: Can't reach the API server (ENOTFOUND)"), "api_unreachable", "network and proxy"),
    (failed(None, SELF_SIGNED, api_error="tls_untrusted_ca"), "api_untrusted", "NODE_EXTRA_CA_CERTS"),
    (failed(None, SELF_SIGNED), "api_untrusted", "NODE_EXTRA_CA_CERTS"),
    (failed(None, "API Error: something new"), "api_error", "something new"),
    (failed(None, ""), "api_unreachable", "network and proxy"),
]


@pytest.mark.parametrize(("body", "code", "says"), FAILURES)
def test_each_failure_has_its_code_its_cause_and_its_cure(body: dict[str, Any], code: str, says: str) -> None:
    outcome = from_result(Result(body))
    assert (outcome.status, outcome.code) == (Turn.Status.FAILED, code)
    assert says in outcome.detail


def test_the_table_of_the_documentation_names_every_code() -> None:
    table = (Path(__file__).parents[3] / "docs" / "claude-cli.md").read_text()
    codes = {code for _, code, _ in FAILURES} | {"command_refused"}
    assert {code for code in codes if f"| `{code}` |" not in table} == set()


def test_a_refusal_that_claims_to_be_a_success_is_none() -> None:
    outcome = from_result(Result({"is_error": False, "stop_reason": "refusal", "result": "no"}))
    assert outcome.code == "model_refused"


LIMIT = {"status": "rejected", "resetsAt": 1795961310, "rateLimitType": "five_hour"}


def limit_event(**changes: Any) -> OutputMessage:
    return OutputMessage("rate_limit_event", "", {"type": "rate_limit_event", "rate_limit_info": {**LIMIT, **changes}})


def test_a_limit_that_is_used_up_says_until_when() -> None:
    assert resets_at(limit_event()) == 1795961310
    [(kind, payload)] = transcript_lines(limit_event())
    assert kind == "system"
    assert "(five hour) is used up; it begins anew at 2026-11-29 14:08 UTC" in payload


def test_a_limit_that_is_near_is_told_and_one_that_is_far_is_not() -> None:
    assert resets_at(limit_event(status="allowed_warning")) is None
    assert "nearly used up" in transcript_lines(limit_event(status="allowed_warning"))[0][1]
    assert transcript_lines(limit_event(status="allowed")) == []


@pytest.mark.parametrize("moment", [None, True, "soon", -1, 0, 1e12, float("nan"), float("inf"), [], {}])
def test_a_time_that_is_none_is_not_shown(moment: object) -> None:
    assert shown_time(moment) == ""
    assert resets_at(limit_event(resetsAt=moment)) is None
