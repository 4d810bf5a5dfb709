"""Explains failures of the model's API: a code for programs and a sentence with the cause and the
cure. Pure.

The CLI reports them in its result: ``api_error_status`` (the HTTP status), ``api_error_type`` (the
API's own word), ``api_error`` (the CLI's), ``stop_reason``, and a text for people. Measured on
2.1.309, 2.1.330 and 2.1.332; docs/claude-cli.md has the table.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LONGEST_WORDS = 300
RESETS_AT = "rate_limit_resets_at"
"""Under this name a recorded result carries when the account may go on: seconds since the epoch."""

LATEST_RESET = 4102444800  # the year 2100; a later moment is an error of the API
NOT_LOGGED_IN = "not_logged_in"
FRESH_START = "send /clear to go on with an empty conversation, or start a new session"
NETWORK = re.compile(
    r"ECONN|ENOTFOUND|EPROTO|ETIMEDOUT|EAI_AGAIN|EHOST|ENET|"
    r"unable to connect|can't reach|connection|timed? ?out|socket|network",
    re.IGNORECASE,
)
MODEL_NAMED = re.compile(r"selected model \(([^()]{1,100})\)")

Explained = tuple[str, str]


def explain(body: Mapping[str, Any]) -> Explained:
    """Return code and sentence for a result of ``api_error`` or ``image_error``, or of a refusal."""
    text = _text(body, "result")[:LONGEST_WORDS]
    for explained in (_by_the_model, _by_the_account, _by_the_network, _by_size):
        found = explained(body, text)
        if found:
            return found
    return explain_status(body.get("api_error_status"), text, body.get(RESETS_AT))


def explain_status(status: object, text: str = "", resets_at: object = None) -> Explained:
    """Return them by the HTTP status, which is None if there was no response. ``resets_at``:
    seconds since the epoch.
    """
    quoted = _quoted(text)
    if status in (401, 403):
        return "api_unauthorized", f"The model API refused the login or key ({status}); log the CLI in again.{quoted}"
    if status == 429:
        return "api_rate_limited", f"The model API limits this account (429); {_when(resets_at)}.{quoted}"
    if status == 529:
        return "api_overloaded", "The model API is overloaded (529), also after retries; try again in some minutes."
    if isinstance(status, int) and status >= 500:
        return "api_error", f"The model API failed with status {status}, also after retries; try again later.{quoted}"
    if isinstance(status, int):
        return "api_error", f"The model API refused the request with status {status}.{quoted}"
    if text and not NETWORK.search(text):
        return "api_error", f"The model API gave no usable answer; try again, or start a new session.{quoted}"
    cure = "check this host's network and proxy, and ANTHROPIC_BASE_URL if it is set"
    return "api_unreachable", f"The model API could not be reached, also after retries; {cure}.{quoted}"


def shown_time(seconds: object) -> str:
    """Return a moment that the API gave, as "2026-11-29 14:05 UTC"; empty if it is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < LATEST_RESET:
        return ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _by_the_model(body: Mapping[str, Any], text: str) -> Explained | None:
    if body.get("stop_reason") == "refusal":
        cure = "Rephrase the request, or choose another model with /model NAME, and send it again"
        return "model_refused", f"The model refused to answer: a safety filter stopped it. {cure}.{_quoted(text)}"
    if body.get("api_error_status") == 404 or "issue with the selected model" in text:
        named = MODEL_NAMED.search(text)
        which = f" “{named[1]}”" if named else ""
        detail = (
            f"The model API knows no model{which}, or this account may not use it; choose another with /model NAME."
        )
        return "model_not_found", detail
    return None


def _by_the_account(body: Mapping[str, Any], text: str) -> Explained | None:
    if body.get("api_error_status") is None and text.startswith("Not logged in"):
        return NOT_LOGGED_IN, "The CLI is not logged in."
    if body.get("api_error") == "org_disabled_credential" or "disabled organization" in text:
        return "api_unauthorized", f"The key belongs to a disabled organization; use another.{_quoted(text)}"
    if body.get("api_error_type") == "billing_error" or "credit balance is too low" in text.lower():
        cure = "buy credit or pay the open bill, or use another key"
        return "api_billing", f"The account behind the model API has no credit; {cure}.{_quoted(text)}"
    if "usage limits" in text:
        return "api_rate_limited", f"The account has used up what it may spend on the model API.{_quoted(text)}"
    return None


def _by_the_network(body: Mapping[str, Any], text: str) -> Explained | None:
    if body.get("api_error_status") is None and (
        _text(body, "api_error").startswith("tls_") or "certificate" in text.lower()
    ):
        cure = "give its authority with NODE_EXTRA_CA_CERTS, or mend the proxy in between"
        return "api_untrusted", f"The certificate of the model API is not trusted on this host; {cure}.{_quoted(text)}"
    return None


def _by_size(body: Mapping[str, Any], text: str) -> Explained | None:
    if body.get("api_error_status") == 413:
        return "request_too_large", f"The conversation is larger than the model API takes (413); {FRESH_START}."
    if "context window limit" in text:
        return "prompt_too_long", f"The conversation fills the model's context window; {FRESH_START}."
    if "output token maximum" in text:
        return "output_too_long", "The model's answer was longer than it may be; ask for it in smaller pieces."
    return None


def _when(resets_at: object) -> str:
    moment = shown_time(resets_at)
    # the CLI waits up to a minute by itself, and does not report how long a key's 429 lasts beyond
    # that
    return f"it may go on at {moment}" if moment else "the CLI does not say until when, so try again later"


def _quoted(text: str) -> str:
    return f" It said: {text}" if text else ""


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""
