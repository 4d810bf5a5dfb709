"""Nothing that is asked is shown nowhere: every kind of request on every surface, and the table of docs/surfaces.md.

``SURFACES_WRITE=1`` in the environment of pytest writes the page anew.
"""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from approvals.hub import ApprovalRows, decide
from approvals.models import Approval
from approvals.presentation.render import questions_of
from orchestra.realtime.registry import Caller
from tests.escalation.conftest import ANNA, api, chat, configured, telegram  # noqa: F401 - fixtures
from tests.factories import make_user, token_for
from tests.flows.surfaces import Kind, Shown, Surface, cell, kinds, table, text_of

pytestmark = pytest.mark.django_db

PAGE = Path(__file__).parents[2] / "docs" / "surfaces.md"
KINDS = kinds()
NAMES = ["console", "admin", "terminal", "REST", "hub", "Telegram"]


@pytest.fixture
def surfaces(chat: Any, client: Client) -> dict[str, Surface]:  # noqa: F811 - the fixture
    """Each surface, as somebody who may decide there."""
    root = make_user("root", is_staff=True, is_superuser=True)
    browser = client
    browser.force_login(root)
    program = APIClient(headers={"Authorization": f"Token {token_for(root)}"})

    def page(address: str) -> Shown:
        drawn = browser.get(address).content.decode()
        return Shown(first=text_of(drawn), approve=_on_page(drawn))

    def console(approval: Approval) -> Shown:
        return page(f"/approvals/{approval.pk}")

    def admin(approval: Approval) -> Shown:
        return page(f"/admin/approvals/approval/{approval.pk}/change/")

    def terminal(approval: Approval) -> Shown:
        out = io.StringIO()
        call_command("approvals", "show", str(approval.pk), stdout=out)
        return Shown(first=text_of(out.getvalue().replace("<", "&lt;")), approve=_in_terminal(approval))

    def rest(approval: Approval) -> Shown:
        shown = _flat(program.get(f"/api/approvals/{approval.pk}").json())
        answered = program.post(f"/api/approvals/{approval.pk}/approve", _answers(approval), format="json")
        return Shown(first=shown, approve="one call" if answered.status_code == 200 else str(answered.json()))

    def hub(approval: Approval) -> Shown:
        [row] = ApprovalRows().rows([str(approval.pk)])
        wanted = {"approval": str(approval.pk), "approved": True, **_answers(approval)}
        decided = decide(Caller(root, "test", by_cookie=False), wanted)
        return Shown(first=_flat(json.loads(row.json_text)), approve="one message" if decided else "")

    def in_telegram(approval: Approval) -> Shown:
        card = chat.card(approval)
        first = card["text"] + _buttons(card)
        if "Show all" not in _buttons(card):
            return Shown(first=first, approve="one press" if "Approve" in _buttons(card) else "an answer")
        known = len(chat.telegram.messages())
        chat.press(ANNA, card, "Show all")
        sent = chat.telegram.messages()[known:]
        opened = "\n".join(message["text"] + _buttons(message) + _file(chat, message) for message in sent)
        return Shown(first=first, opened=opened, how="*Show all*", approve="*Show all*, then one press")

    made: dict[str, Callable[[Approval], Shown]] = {
        "console": console, "admin": admin, "terminal": terminal, "REST": rest, "hub": hub, "Telegram": in_telegram,
    }  # fmt: skip
    return made


def _on_page(drawn: str) -> str:
    """What stands between a person and an approval, from the form."""
    needs = ["reading to the end"] if 'name="read_digest"' in drawn else []
    needs += ["an answer"] if 'name="other_0"' in drawn else []
    confirms = 'data-key="y" data-does="runs it once"' in drawn or "Approve, high risk" in drawn
    return ", then ".join([*needs, "a second press" if confirms else "one press"])


def _in_terminal(approval: Approval) -> str:
    answer = ["--answer=yes" for _ in questions_of(approval)]
    try:
        call_command("approvals", "approve", str(approval.pk), *answer, stdout=io.StringIO())
    except CommandError as refused:
        return "`approve --read`" if "add --read" in str(refused) else str(refused)
    return "`approve --answer`" if answer else "`approve`"


def _answers(approval: Approval) -> dict[str, Any]:
    """The body of an approval, with an answer to each question."""
    texts = [question["question"] for question in questions_of(approval)]
    given = dict.fromkeys(texts, "yes")
    return {"answers": given} if texts else {}


def _flat(value: object) -> str:
    """Every string in a JSON value, and those in JSON text inside."""
    if isinstance(value, dict):
        return " ".join(map(_flat, value.values()))
    if isinstance(value, list):
        return " ".join(map(_flat, value))
    return str(value)


def _buttons(message: dict[str, Any]) -> str:
    return " ".join(button["text"] for row in message["buttons"] for button in row)


def _file(telegram_chat: Any, message: dict[str, Any]) -> str:
    """The content of the file that a message carries."""
    document = message["document"]
    return str(telegram_chat.telegram._files[document["file_id"]][1].decode()) if document else ""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", NAMES)
def test_everything_that_was_asked_is_shown(surfaces: dict[str, Surface], name: str, kind: Kind) -> None:
    assert "not shown" not in cell(kind, surfaces[name](kind.make()))


def test_no_secret_is_shown_unasked(surfaces: dict[str, Surface]) -> None:
    [kind] = [kind for kind in KINDS if kind.secret]
    for name in ("console", "admin", "terminal", "Telegram"):
        assert cell(kind, surfaces[name](kind.make())).endswith("secret hidden"), name


def test_the_page_of_the_docs_says_what_is_shown(surfaces: dict[str, Surface]) -> None:
    shown = {(kind.name, name): (kind, surfaces[name](kind.make())) for kind in KINDS for name in NAMES}
    names = [kind.name for kind in KINDS]
    what = table({at: cell(*given) for at, given in shown.items()}, NAMES, names)
    needs = table({at: given.approve for at, (_, given) in shown.items()}, NAMES, names)
    page = PAGE.read_text(encoding="utf-8")
    for mark, made in (("shown", what), ("needs", needs)):
        head, rest = page.split(f"<!-- {mark}: start -->\n")
        _, tail = rest.split(f"<!-- {mark}: end -->\n")
        page = f"{head}<!-- {mark}: start -->\n{made}<!-- {mark}: end -->\n{tail}"
    if os.environ.get("SURFACES_WRITE"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "SURFACES_WRITE=1 pytest tests/flows/test_surfaces.py writes it"
