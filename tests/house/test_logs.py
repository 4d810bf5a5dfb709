"""What log lines look like, and what never gets into one."""

import json
import logging
import sys
import time
from typing import Any

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from orchestra.logs.config import bind, logging_config
from orchestra.logs.redaction import learn, scrub, secrets_in, visible


def formatted(message: str, *arguments: object, production: bool = False, **changes: Any) -> str:
    """One line as the handlers of Orchestra write it."""
    described = logging_config(production=production, process="web")["formatters"]["orchestra"]
    formatter = described.pop("()")(**described)
    record = logging.LogRecord("approvals.commands", logging.WARNING, __file__, 1, message, arguments, None)
    vars(record).update(changes)
    return str(formatter.format(record))


def failure(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


BOT = "123456789:AAH-abcdefghijklmnopqrstuvwxyz_12345"
KNOX = "0123456789abcdef" * 4
SECRETS = [
    (f"POST https://api.telegram.org/bot{BOT}/sendMessage failed", BOT),
    (f"bot {BOT} is unauthorized", BOT),
    ("key sk-ant-api03-AbC_dEf-123 refused", "api03-AbC_dEf-123"),
    (f"{{'Authorization': 'Token {KNOX}', 'Accept': '*/*'}}", KNOX),
    (f"Authorization: Bearer {KNOX}", KNOX),
    (f'{{"authorization": "{KNOX}"}}', KNOX),
    (f"(b'authorization', b'Token {KNOX}')", KNOX),
    (f"curl -H 'Authorization: Token {KNOX}'", KNOX),
    (f"sent token {KNOX}", KNOX),
    ("GET /sign-in/aB3_xYz-0987654321 200", "aB3_xYz-0987654321"),
    ("cannot connect to postgres://orchestra:s3cr3tpass@db.example.com/x", "s3cr3tpass"),
    ("redis://:s3cr3tpass@cache:6379/0", "s3cr3tpass"),
]


@pytest.mark.parametrize("production", [False, True])
@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_no_line_carries_a_secret(text: str, secret: str, production: bool) -> None:
    for line in (
        formatted(text, production=production),
        formatted("%s", text, production=production),
        formatted("failed", production=production, exc_info=failure(text)),
    ):
        assert secret not in line
        assert "***" in line


def test_no_line_carries_the_key_of_this_installation() -> None:
    assert formatted("signed with %s", settings.SECRET_KEY).endswith("signed with ***")


@pytest.mark.parametrize(
    "text",
    [
        "POST /api/sessions 201",
        "the token bucket is full, bearer of news",
        "http://127.0.0.1:5284/health and https://user@example.com/path",
        "Authorization is judged at decision time",
        "at 10:20:30 session 0f8fad5b-d9cb-469f-a165-70867728950e used 12345 tokens",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text) == text


def test_a_long_run_of_letters_beside_an_address_is_looked_through_once() -> None:
    """Such as a file in hexadecimal digits that an agent read: archives hide the secrets of such texts, too."""
    began = time.monotonic()
    assert scrub("https://user:hunter2x@host " + "ab" * 250_000).startswith("https://user:***@host ")
    assert time.monotonic() - began < 60


def test_variables_whose_names_say_so_are_secret() -> None:
    environment = {"TELEGRAM_BOT_TOKEN": "t", "PGPASSWORD": "p", "ANTHROPIC_API_KEY": "k", "HOME": "/root", "LANG": "C"}
    assert secrets_in(environment) == ["t", "p", "k"]


def test_short_values_are_not_hidden_since_they_are_everywhere() -> None:
    learn("on", "1234567")
    assert scrub("turned on 1234567") == "turned on 1234567"


@given(st.text())
def test_nothing_can_break_a_line_or_hide_in_it(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert not any(character in shown for character in "\x00\x1b\x7f\x9b\u200b\u202e\u2066\ufeff\r\n")
    assert visible(shown) == shown


def test_a_forged_line_stays_inside_the_line_it_came_in() -> None:
    forged = "x\n12:00:00.000 INFO     approvals: approved by anna\x1b[2J"
    line = formatted("title %s", forged)
    assert "\n" not in line
    assert r"x\n12:00:00.000" in line
    assert r"\x1b[2J" in line


def test_a_traceback_is_readable_and_no_part_of_it_passes_for_a_line() -> None:
    lines = formatted("failed", exc_info=failure("first\nERROR second")).splitlines()
    assert lines[0].endswith("WARNING  approvals.commands: failed")
    assert all(line.startswith("    ") for line in lines[1:])
    assert any("ValueError: first" in line for line in lines)


def test_lines_within_a_bind_carry_the_ids_and_others_do_not() -> None:
    with bind(session="s-1"):
        with bind(approval="a-1"):
            assert formatted("asked").endswith("asked session=s-1 approval=a-1")
        assert formatted("going on").endswith("going on session=s-1")
    assert formatted("done").endswith("done")


def test_ids_may_be_given_with_one_line() -> None:
    assert formatted("asked", session="s-1", approval="a-1", password="x").endswith("asked session=s-1 approval=a-1")


def test_production_writes_json_with_all_there_is_to_know() -> None:
    with bind(session="s-1", approval="a-1"):
        line = formatted('approval "%s" timeout', "x\n", production=True, exc_info=failure("why"))
    assert "\n" not in line
    facts = json.loads(line)
    assert facts["event"] == 'approval "x\n" timeout'
    assert (facts["level"], facts["logger"], facts["process"]) == ("warning", "approvals.commands", "web")
    assert (facts["session"], facts["approval"]) == ("s-1", "a-1")
    assert "ValueError: why" in facts["exception"]
    assert facts["timestamp"].endswith("Z")
