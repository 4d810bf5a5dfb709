"""Letters that pass for others are marked; ordinary writing is left alone."""
# ruff: noqa: RUF001

import io
import json

import pytest

from approvals.models import Approval
from approvals.policy.risk import assess_risk
from approvals.presentation.render import title_for, what_would_run
from approvals.presentation.safe_text import editable, exact_json, one_line, visible
from approvals.presentation.terminal import Screen, show_approval
from escalation.telegram.messages import render as telegram
from tests.escalation.notices import make_notice
from tests.factories import make_approval

MARKED = [
    ("curl https://аpple.com", "curl https://⟨а U+0430⟩pple.com"),
    ("pаypal", "p⟨а U+0430⟩ypal"),
    ("sudо rm", "sud⟨о U+043E⟩ rm"),
    ("gοοgle.com", "g⟨ο U+03BF⟩⟨ο U+03BF⟩gle.com"),
    ("аррӏе.com", "⟨а U+0430⟩⟨р U+0440⟩⟨р U+0440⟩⟨ӏ U+04CF⟩⟨е U+0435⟩.com"),
    ("user@ехаmрlе.org", "user@⟨е U+0435⟩⟨х U+0445⟩⟨а U+0430⟩m⟨р U+0440⟩l⟨е U+0435⟩.org"),
    ("https://раураӏ.com:443/x", None),
    ("ａpple", "⟨ａ U+FF41⟩pple"),
    ("ａｐｐｌｅ.com", None),
    ("https://ＧＯＯＧＬＥ．ＣＯＭ/x", None),
    ("𝐚pple.com", None),
    ("ɑpple.com", "⟨ɑ U+0251⟩pple.com"),
    ("google.com⁄evil.example", "google.com⟨⁄ U+2044⟩evil.example"),
    ("apple．com", None),
    ("Ꭺpple", None),
    ("/srv/dаta/x", "/srv/d⟨а U+0430⟩ta/x"),
]
ORDINARY = [
    "Привет мир, запусти git push",
    "тест.py и архив.zip",
    "IT-шник, x86-процессор, 3D-модель",
    "https://пример.com/путь",
    "русский.рф",
    "Ελληνικό κείμενο και git",
    "Δt = 5 μm, πr², 5 Ω, ±3σ",
    "日本語のテキストでPythonを書く",
    "ＡＢＣ株式会社",
    "APIを使う。OK",
    "API：説明（Python）と",
    "config.ymlを読む。README.mdも",
    "中文和English混排",
    "한국어text",
    "العربية API",
    "الAPI",
    "ב-API שלנו",
    "ใช้Pythonเขียน",
    "münchen.de",
    "café, naïve, Straße, İstanbul, łódź",
    "iPhone'ом",
    "½ 1⁄2 №5 ™ €",
    "https://例え.jp/テスト",
    "🙂 ok ❤️",
    "résumé.txt",
    "Հայերեն և git",
    "ქართული git",
]


@pytest.mark.parametrize(("text", "shown"), MARKED)
def test_letters_that_pass_for_others_are_marked(text: str, shown: str | None) -> None:
    marked = visible(text)
    assert marked == shown if shown else "U+" in marked


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_writing_is_not(text: str) -> None:
    assert "U+" not in visible(text)


def test_marking_twice_is_marking_once() -> None:
    for text, _ in MARKED:
        assert visible(visible(text)) == visible(text)


def test_a_long_text_is_looked_at_in_proportion_to_its_length() -> None:
    for text in ("а" * 1_000_000, "привет как дела " * 60_000, "a.а" * 300_000, "аpple " * 100_000):
        visible(text)  # each would take minutes otherwise


def test_to_be_edited_they_are_escapes_and_mean_the_same() -> None:
    text = json.dumps({"command": "curl https://аpple.com 日本"})
    shown = editable(text)
    assert "\\u0430pple.com" in shown
    assert "日本" in shown
    assert json.loads(exact_json(shown)) == json.loads(text)


def looking_alike() -> Approval:
    given = json.dumps({"command": "curl https://аpple.com/x", "description": "Fetch from аpple.com"})
    risk, why = assess_risk("Bash", json.loads(given)["command"])
    return make_approval(title=title_for("Bash", given), tool_input=given, risk=risk, risk_reason=why)


WARNING = "https://⟨а U+0430⟩pple.com/x mixes Latin and Cyrillic letters."


@pytest.mark.django_db
def test_every_surface_says_so() -> None:
    approval = looking_alike()
    blocks = what_would_run(approval)
    assert blocks[0].note.startswith(f"Look-alike letters: {WARNING}")
    assert not blocks[0].quiet
    assert (approval.risk, approval.risk_reason) == ("high", "has letters that pass for others")
    assert "⟨а U+0430⟩pple.com" in one_line(approval.title, 200)
    out = io.StringIO()
    show_approval(Screen(Printed(out)), approval)
    assert WARNING in out.getvalue()
    card = telegram.render_card(make_notice("Bash", json.loads(approval.tool_input), blocks=tuple(blocks)))
    assert WARNING in card.plain
    assert "High risk: has letters that pass for others" in card.plain


class Printed:
    """What a management command prints to."""

    def __init__(self, out: io.StringIO) -> None:
        self._out = out

    def isatty(self) -> bool:
        return False

    def write(self, text: str, ending: str = "\n") -> None:
        self._out.write(text + ending)

    def flush(self) -> None:
        pass


def test_an_ordinary_command_is_no_higher_a_risk_for_its_language() -> None:
    assert assess_risk("Bash", "echo Привет мир")[0] == "low"


@pytest.mark.parametrize("text", ["👨\u200d👩\u200d👧 👩🏽\u200d💻 🏳️\u200d🌈", "فارسی می\u200cخواهم"])
def test_what_joins_ordinary_writing_is_not_spelled_out(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "text", ["a\u200db", "r\u200cm", "👨\u200d", "a\u200d👨", "م\u200c", "googʟe.com", "ſudo", "ⅿkdir"]
)
def test_the_same_elsewhere_and_rarer_letters_are(text: str) -> None:
    assert visible(text) != text
