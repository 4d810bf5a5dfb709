"""How secrets are hidden: by number, on every line, wherever their value stands."""

import json
import time

import pytest

from orchestra.logs import redaction as scrub
from orchestra.redaction import Redaction
from tests.redaction.made import Maker, framed, redact

MAKER = Maker(7)
TOKEN, OTHER = MAKER.make("github"), MAKER.make("anthropic")


def test_the_same_secret_gets_the_same_number_and_is_counted_once():
    assert redact(f"curl -H 'A: {TOKEN}' x; echo {OTHER} {TOKEN}") == (
        "curl -H 'A: [secret 1]' x; echo [secret 2] [secret 1]", 2
    )  # fmt: skip


def test_what_is_hidden_is_not_hidden_again():
    hidden, _ = redact(f"export API_TOKEN={TOKEN}")
    assert redact(hidden) == (hidden, 0)


def test_a_value_found_by_its_name_is_hidden_where_nothing_names_it():
    redaction = Redaction()
    redaction.learn("export DB_PASSWORD=Tulip-9!x")
    assert redaction.hide("then log in with Tulip-9!x") == "then log in with [secret 1]"


def test_the_beginning_of_a_known_value_before_a_cut_is_hidden():
    redaction = Redaction()
    redaction.learn(f"API_TOKEN={TOKEN}")
    assert redaction.hide(f"Bash: curl {TOKEN[:9]}…") == "Bash: curl [secret 2]…"


def test_lines_stay_lines():
    key = framed("RSA PRIVATE", MAKER.make("block"))
    hidden, count = redact(f"a\n{key}\nb")
    assert (hidden.count("\n"), count) == (f"a\n{key}\nb".count("\n"), 1)
    assert hidden.startswith("a\n-----BEGIN RSA PRIVATE KEY-----\n[secret 1]\n")


def test_a_private_key_whose_end_is_missing_is_hidden_to_the_end():
    block = MAKER.make("block")
    assert block[:40] not in redact(framed("PRIVATE", block)[:120])[0]


def test_json_is_hidden_by_its_names():
    redaction = Redaction()
    value = {"password": "letmein", "env": [{"name": "API_TOKEN", "value": "abc123def"}], "path": "/srv/app", "n": 3}
    assert redaction.hide_in(value) == {
        "password": "[secret 1]", "env": [{"name": "API_TOKEN", "value": "[secret 2]"}], "path": "/srv/app", "n": 3,
    }  # fmt: skip


def test_json_text_stays_json():
    text = json.dumps({"command": f'curl -H "Authorization: Bearer {OTHER}" https://api.example.com', "timeout": 5})
    assert json.loads(redact(text)[0]) == {
        "command": 'curl -H "Authorization: Bearer [secret 1]" https://api.example.com', "timeout": 5,
    }  # fmt: skip


def test_what_the_logs_hide_is_hidden_too(monkeypatch):
    monkeypatch.setattr(scrub, "_known", {"a value nobody would take for a secret"})
    assert redact("it is a value nobody would take for a secret.")[0] == "it is [secret 1]."


@pytest.mark.parametrize("form", ["export API_TOKEN={}", 'password="{}"', "key={}", '{{"secret": "{}"}}'])
def test_a_long_value_is_hidden_to_its_end(form):
    value = "".join(Maker(5).some(50) for _ in range(300))
    assert value[-20:] not in redact(form.format(value))[0]
    assert Redaction().hide_in({"client_secret": value}) == {"client_secret": "[secret 1]"}


def test_a_value_of_several_lines_is_hidden_by_its_name():
    assert Redaction().hide_in({"password": "two words\nand 1 more"}) == {"password": "[secret 1]\n[secret 1]"}


HOSTILE = [
    "token=", '"', " ", "password ", "a:b@", "http://a:b", "-u a:", "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN CERTIFICATE-----\n", "echo a | ", "\\", "eyJ", "cookie: ", '{"password":', "password_", "?key=",
    "password: <", "auth: bearer <", "login a password ", "a.b.", "…", "sk-", "mysql ", "A_TOKEN=abc1xyz9\n",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_grows_with_the_length_alone(piece):
    """Compared with itself, so that a busy machine does not matter: four times the text, never 16 times as long."""

    def seconds(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        began = time.process_time()
        redact(text)
        return time.process_time() - began

    small, large = max(0.05, seconds(25_000)), seconds(100_000)
    assert large < 10 * small


@pytest.mark.parametrize(
    "text",
    [
        "db:\n  password: >-\n    {}\n  host: x",
        "export TOKEN=\\\n{}",
        'token = (\n    "{}"\n)',
        "snmpwalk -v3 -u bob -A first-1234 -X {} host",
        "keytool -genkey -storepass changeit77 -keypass {} -alias x",
        "openssl enc -aes-256-cbc -in a -out b -k {}",
        "rabbitmqctl add_user bob {}",
        "nmcli dev wifi connect HomeNet password {}",
        'new NetworkCredential("bob", "{}")',
    ],
)
def test_a_value_where_a_program_or_a_file_has_it(text: str) -> None:
    secret = Maker(21).some(14)
    assert secret not in redact(text.format(secret))[0]
